package userns

import (
	"sync"
	"testing"

	"github.com/hodbuild/hod/layers/granted"
)

// BenchmarkFile is what every start of root's pays for its range of ids.
func BenchmarkFile(b *testing.B) {
	granted.NeedRoot(b, "maps ids that are not its own")
	for b.Loop() {
		f, err := File(Shifted(100000, 65536))
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

func TestFilesSideBySide(t *testing.T) {
	granted.NeedRoot(t, "maps ids that are not its own")
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 20 {
				f, err := File(Shifted(uint32(100000+i*65536), 65536))
				if err != nil {
					t.Error(err)
					return
				}
				f.Close()
			}
		})
	}
	wg.Wait()
}
