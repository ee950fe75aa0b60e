package diff

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/hodbuild/hod/layers/diff/eviltar"
)

// entriesOf is what is told by a reader of tars, a line an entry, and how it ended.
func entriesOf(next func() (*tar.Header, io.Reader, error)) []string {
	var lines []string
	for {
		h, r, err := next()
		if err == io.EOF {
			return append(lines, "end")
		}
		if err != nil {
			return append(lines, "error")
		}
		line := fmt.Sprintf("%c %q %q %o %d:%d %d %d %d:%d", h.Typeflag, h.Name, h.Linkname, h.Mode, h.Uid, h.Gid, h.ModTime.UnixNano(), h.Size, h.Devmajor, h.Devminor)
		if h.Typeflag == tar.TypeDir || h.Typeflag == tar.TypeSymlink || h.Typeflag == tar.TypeReg {
			line = fmt.Sprintf("%c %q %q %o %d:%d %d %d", h.Typeflag, h.Name, h.Linkname, h.Mode, h.Uid, h.Gid, h.ModTime.UnixNano(), h.Size)
		}
		for _, k := range slices.Sorted(maps.Keys(h.PAXRecords)) {
			line += fmt.Sprintf(" %q=%q", k, h.PAXRecords[k])
		}
		sum := sha256.New()
		n, err := io.Copy(sum, io.LimitReader(r, 16<<20))
		line += fmt.Sprintf(" %d %x", n, sum.Sum(nil))
		if lines = append(lines, line); err != nil {
			return append(lines, "error")
		}
	}
}

func ours(r io.Reader) []string { return entriesOf((&scanner{src: newSource(r)}).Next) }

func theirs(r io.Reader) []string {
	t := tar.NewReader(r)
	return entriesOf(func() (*tar.Header, io.Reader, error) {
		h, err := t.Next()
		return h, t, err
	})
}

// sameEntries: the scanner tells of a tar what archive/tar tells, however its bytes come.
func sameEntries(t *testing.T, data []byte) {
	t.Helper()
	want := theirs(bytes.NewReader(data))
	for how, r := range map[string]io.Reader{
		"at once":   bytes.NewReader(data),
		"in halves": iotest.HalfReader(bytes.NewReader(data)),
		"with EOF":  iotest.DataErrReader(bytes.NewReader(data)),
	} {
		if got := ours(r); !slices.Equal(got, want) {
			t.Fatalf("%s:\n%q\narchive/tar has\n%q", how, got, want)
		}
	}
	if len(data) > 32<<10 {
		return
	}
	if got := ours(iotest.OneByteReader(bytes.NewReader(data))); !slices.Equal(got, want) {
		t.Fatalf("byte by byte:\n%q\narchive/tar has\n%q", got, want)
	}
}

// formats are tars of one folder as GNU's tar writes them.
func formats(t testing.TB) [][]byte {
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": "", "short": "x", "block": string(make([]byte, 512)), "ümlaut": "y"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	deep := filepath.Join(dir, "d", string(bytes.Repeat([]byte("long"), 40)))
	if err := cmp.Or(os.MkdirAll(deep, 0o750), os.Symlink("../short", filepath.Join(deep, "link")), os.Link(filepath.Join(dir, "short"), filepath.Join(deep, "same")),
		os.Truncate(filepath.Join(dir, "block"), 1<<20), os.Chtimes(filepath.Join(dir, "empty"), time.Time{}, time.Unix(-5, 700))); err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for _, f := range []string{"v7", "oldgnu", "gnu", "ustar", "pax", "gnu -S", "pax -S", "gnu --owner=x:3000000", "ustar --numeric-owner"} {
		out, err := exec.Command("sh", "-c", "tar -C \"$0\" -c --format="+f+" . 2>/dev/null", dir).Output()
		if len(out) == 0 {
			t.Fatalf("tar --format=%s: %v", f, err) // some cannot say all: they leave it out, with an error
		}
		all = append(all, out)
	}
	return all
}

func TestScannerReadsAsArchiveTar(t *testing.T) {
	for _, data := range formats(t) {
		sameEntries(t, data)
		for _, cut := range []int{1, 511, 512, 700, 1024, 1536, len(data) / 2} { // and what was cut off
			sameEntries(t, data[:min(cut, len(data))])
		}
	}
	for name, change := range map[string]func(h []byte){
		"prefix in a header of GNU": func(h []byte) { copy(h[345:], "folder") },
		"access time of GNU":        func(h []byte) { copy(h[345:], "00000000001") },
		"trailer of star": func(h []byte) {
			copy(h[257:], "ustar\x0000")
			copy(h[345:], strings.Repeat("f", 131)+"00000000001 00000000001 ")
			copy(h[508:], "tar\x00")
		},
		"prefix of ustar": func(h []byte) { copy(h[257:], "ustar\x0000"); copy(h[345:], "folder") },
	} {
		data := bytes.Clone(formats(t)[2])
		change(data)
		copy(data[148:], fmt.Sprintf("%06o\x00 ", checksum(data[:headerSize])))
		if got := theirs(bytes.NewReader(data)); len(got) < 5 {
			t.Fatalf("%s: not a tar any more: %q", name, got)
		}
		sameEntries(t, data)
	}
	for _, c := range eviltar.Cases("/outside") {
		sameEntries(t, c.Tar)
	}
}

// TestScannerTakesPlainHeadersItself: else all goes the slow way, and nobody sees it.
func TestScannerTakesPlainHeadersItself(t *testing.T) {
	for i, kind := range []string{"gnu", "ustar"} {
		data := formats(t)[2+i]
		if h := new(tar.Header); !plainHeader(h, data[:headerSize]) || h.Name != "./" {
			t.Errorf("the first header of a tar of %s is not plain: %q", kind, h.Name)
		}
	}
}

// TestScannerOfDamagedTars: a byte or a number is changed somewhere in the headers.
func TestScannerOfDamagedTars(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	seeds := formats(t)
	for n := range 600 {
		data := bytes.Clone(seeds[n%len(seeds)])
		data = data[:min(len(data), 16<<10)]
		for range 1 + rnd.IntN(3) {
			head := rnd.IntN(len(data)/512) * 512
			at := head + rnd.IntN(512)
			data[at] = "\x00 012789/gxLKS\x80\xff"[rnd.IntN(16)]
			if rnd.IntN(4) > 0 { // else its checksum is wrong
				copy(data[head+148:], fmt.Sprintf("%06o\x00 ", checksum(data[head:head+512])))
			}
		}
		sameEntries(t, data)
	}
}

// FuzzScanner: whatever the bytes, the scanner reads them as archive/tar does.
func FuzzScanner(f *testing.F) {
	for _, data := range formats(f) {
		f.Add(data[:min(len(data), 8<<10)])
	}
	f.Fuzz(func(t *testing.T, data []byte) { sameEntries(t, data) })
}
