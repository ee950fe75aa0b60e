package diff

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// manyFiles is a tar of small files in folders, or the file that HOD_BENCH_TAR names.
func manyFiles(b *testing.B) []byte {
	if name := os.Getenv("HOD_BENCH_TAR"); name != "" {
		data, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		return data
	}
	var out bytes.Buffer
	w := NewWriter(&out, PackOptions{})
	for d := range 50 {
		dir := fmt.Sprintf("d%02d", d)
		if err := w.WriteEntry(Entry{Path: dir, Type: tar.TypeDir, Mode: 0o755, UID: os.Geteuid(), GID: os.Getegid()}, nil); err != nil {
			b.Fatal(err)
		}
		for f := range 100 {
			e := Entry{Path: fmt.Sprintf("%s/f%03d", dir, f), Type: tar.TypeReg, Mode: 0o644, Size: 3000, UID: os.Geteuid(), GID: os.Getegid()}
			if err := w.WriteEntry(e, bytes.NewReader(make([]byte, 3000))); err != nil {
				b.Fatal(err)
			}
		}
	}
	if _, err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}

// spent is the processor time of this process and of its children.
func spent() (sum int64) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil {
			sum += unix.TimevalToNsec(u.Utime) + unix.TimevalToNsec(u.Stime)
		}
	}
	return sum
}

// each unpacks into new folders, deleted outside the measured time. Processor time, which a busy machine changes less,
// is told too.
func each(b *testing.B, do func(dir string) error) {
	var sum int64
	defer func() { b.ReportMetric(float64(sum)/1e6/float64(b.N), "cpu-ms/op") }()
	for b.Loop() {
		b.StopTimer()
		dir, err := os.MkdirTemp("", "bench")
		if err != nil {
			b.Fatal(err)
		}
		before := spent()
		b.StartTimer()
		err = do(dir)
		b.StopTimer()
		sum += spent() - before
		os.RemoveAll(dir)
		b.StartTimer()
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnpack(b *testing.B) {
	data := manyFiles(b)
	b.Run("hod", func(b *testing.B) {
		each(b, func(dir string) error {
			_, err := ApplyPath(b.Context(), bytes.NewReader(data), dir, ApplyOptions{})
			return err
		})
	})
	b.Run("tar", func(b *testing.B) {
		each(b, func(dir string) error {
			cmd := exec.Command("tar", "-x", "-C", dir)
			cmd.Stdin = bytes.NewReader(data)
			return cmd.Run()
		})
	})
}

func BenchmarkPack(b *testing.B) {
	dir := b.TempDir()
	if _, err := ApplyPath(b.Context(), bytes.NewReader(manyFiles(b)), dir, ApplyOptions{}); err != nil {
		b.Fatal(err)
	}
	b.Run("hod", func(b *testing.B) {
		for b.Loop() {
			if _, err := PackTree(b.Context(), dir, io.Discard, PackOptions{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("tar", func(b *testing.B) {
		for b.Loop() {
			cmd := exec.Command("tar", "-cf", "-", "-C", dir, ".")
			cmd.Stdout = struct{ io.Writer }{io.Discard} // a pipe: tar reads nothing when it writes to /dev/null
			if err := cmd.Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
