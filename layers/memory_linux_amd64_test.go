package layers

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hodbuild/hod/layers/archive"
	"github.com/hodbuild/hod/layers/diff"
)

func bigSize() int64 {
	if os.Getenv("HOD_TEST_FULL") != "" {
		return 5 << 30
	}
	return 192 << 20
}

// half is a stream of which half can be compressed.
type half struct {
	r *rand.ChaCha8
	n int
}

func (h *half) Read(p []byte) (int, error) {
	p = p[:min(len(p), 64<<10)]
	if h.n++; h.n%2 == 0 {
		clear(p)
		return len(p), nil
	}
	return h.r.Read(p)
}

func init() {
	crashOps["big build"] = func(ctx context.Context, s *Store) error {
		w, err := s.CreateLayer(LayerOptions{SelfContained: true})
		if err != nil {
			return err
		}
		defer w.Close()
		pack := diff.NewWriter(w, diff.PackOptions{})
		content := io.LimitReader(&half{r: rand.NewChaCha8([32]byte{1})}, bigSize())
		if err := pack.WriteEntry(diff.Entry{Path: "big", Type: '0', Mode: 0o644, Size: bigSize()}, content); err != nil {
			return err
		}
		if _, err := pack.Close(); err != nil {
			return err
		}
		info, err := w.Commit(ctx)
		if err != nil {
			return err
		}
		return nameImage(ctx, s, "big", info.DiffID)
	}
	crashOps["big save"] = func(ctx context.Context, s *Store) error { // compresses, as a push does
		f, err := os.Create(filepath.Join(filepath.Dir(s.root), "big.tar"))
		if err != nil {
			return err
		}
		sink := archive.NewTar(f)
		return errors.Join(s.Save(ctx, sink, []string{"big"}, nil), sink.Close(), f.Close())
	}
	crashOps["big load"] = func(ctx context.Context, s *Store) error { // verifies and unpacks, as a pull does
		src, err := archive.Open(filepath.Join(filepath.Dir(s.root), "big.tar"))
		if err != nil {
			return err
		}
		defer src.Close()
		other, err := Open(filepath.Join(filepath.Dir(s.root), "other"), Options{})
		if err != nil {
			return err
		}
		_, err = other.Load(ctx, src)
		return errors.Join(err, other.Close())
	}
	crashOps["big check"] = func(ctx context.Context, s *Store) error {
		_, err := s.Check(ctx, CheckOptions{})
		return err
	}
}

// A layer of 5 GiB (192 MiB in the short form) takes less than 100 MB of memory to build, compress, save, load and check.
func TestMemoryOfABigLayer(t *testing.T) {
	needRoot(t)
	root := filepath.Join(t.TempDir(), "s")
	for _, op := range []string{"big build", "big save", "big load", "big check"} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashOp+"="+op, crashRoot+"="+root)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "acknowledged") {
			t.Fatalf("%s: %v: %s", op, err, out)
		}
		peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss / 1024
		t.Logf("%s: %d MiB", op, peak)
		if peak > 100 {
			t.Errorf("%s took %d MiB of memory", op, peak)
		}
	}
}
