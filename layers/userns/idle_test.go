package userns

import (
	"os"
	"sync"
	"testing"
)

// BenchmarkFile is what every start of root's pays for its range of ids.
func BenchmarkFile(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: maps ids that are not its own")
	}
	for b.Loop() {
		f, err := File(Shifted(100000, 65536))
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

func TestFilesSideBySide(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: maps ids that are not its own")
	}
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
