package diff

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hodbuild/hod/layers/diff/eviltar"
)

// Somebody who exchanges folders of the tree for links to the outside while it is unpacked, over and over, sees nothing
// appear there: all is written relative to folders that are open or entered without following a link (U3). Who leaves it
// alone gets all of it.
func TestUnpackBesideSwaps(t *testing.T) {
	var list []tar.Header
	for i := range 3000 { // more folders than are kept open, each entered again and again
		dir := fmt.Sprintf("d%d", i%300)
		if i < 300 {
			list = append(list, tar.Header{Name: dir, Typeflag: tar.TypeDir})
		}
		list = append(list, tar.Header{Name: fmt.Sprintf("%s/f%d", dir, i), Typeflag: tar.TypeReg})
	}
	data := eviltar.Headers(list...)
	outside, dest := t.TempDir(), t.TempDir()
	stop, swapped := make(chan bool), make(chan int)
	go func() {
		n := 0 // swaps that took place
		for i := 0; ; i++ {
			select {
			case <-stop:
				swapped <- n
				return
			default:
			}
			d := filepath.Join(dest, fmt.Sprintf("d%d", i%300))
			if os.Rename(d, d+".away") == nil {
				if os.Symlink(outside, d) == nil {
					n++
				}
				_ = os.Remove(d)
				_ = os.Rename(d+".away", d)
			}
		}
	}()
	o := ApplyOptions{SingleID: os.Geteuid() != 0}
	for range 5 {
		_, err := ApplyPath(t.Context(), bytes.NewReader(data), dest, o)
		t.Logf("beside swaps: %v", err)
	}
	close(stop)
	n := <-swapped
	t.Logf("%d swaps", n)
	if n < 100 {
		t.Errorf("only %d swaps", n)
	}
	if list, err := os.ReadDir(outside); err != nil || len(list) > 0 {
		t.Errorf("outside there are %v, %v", list, err)
	}
	quiet := t.TempDir()
	if _, err := ApplyPath(t.Context(), bytes.NewReader(data), quiet, o); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(filepath.Join(quiet, "d*", "f*")); len(files) != 3000 {
		t.Errorf("%d files, want 3000", len(files))
	}
}
