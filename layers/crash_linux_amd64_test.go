package layers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/hodbuild/hod/layers/diff"
	"github.com/hodbuild/hod/layers/faults"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// The crash tests run operations in processes of their own, under a supervisor
// that sees every system call which changes a file system, counted over all
// threads. At the N-th it kills the process, or makes the call fail. Afterwards
// the store must be clean without a repair, have what was there and what was
// acknowledged, and take the same operation again.

const (
	crashOp   = "HOD_CRASH_OP"
	crashRoot = "HOD_CRASH_ROOT"
	crashTrap = "HOD_CRASH_TRAP"
)

func TestMain(m *testing.M) {
	if op := os.Getenv(crashOp); op != "" {
		os.Exit(crashChild(op))
	}
	os.Exit(m.Run())
}

// crashChild performs one operation and acknowledges it on its output.
func crashChild(op string) int {
	if os.Getenv(crashTrap) != "" {
		if err := faults.Trap(); err != nil {
			fmt.Fprintln(os.Stderr, "trap:", err)
			return 3
		}
	}
	s, err := Open(os.Getenv(crashRoot), Options{})
	if err == nil {
		err = errors.Join(crashOps[op](context.Background(), s), s.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if _, err := fmt.Println("acknowledged"); err != nil {
		return 1
	}
	return 0
}

var crashOps = map[string]func(context.Context, *Store) error{
	"put": func(ctx context.Context, s *Store) error {
		b := bytes.Repeat([]byte("blob"), 1<<16)
		return s.PutBlob(ctx, descOf("", b), bytes.NewReader(b), true)
	},
	"build": func(ctx context.Context, s *Store) error {
		w, err := s.CreateLayer(LayerOptions{SelfContained: true})
		if err != nil {
			return err
		}
		defer w.Close()
		if _, err := w.Write(emptyTar("built")); err != nil {
			return err
		}
		info, err := w.Commit(ctx)
		if err != nil {
			return err
		}
		key := digest.FromString("key")
		if err := s.PutRecord(ctx, key, key, []byte("x"), []digest.Digest{info.DiffID}); err != nil {
			return err
		}
		return nameImage(ctx, s, "new", info.DiffID)
	},
	"ingest": func(ctx context.Context, s *Store) error {
		raw := emptyTar("pulled")
		z := zipped(raw)
		info, err := s.IngestBlob(ctx, gzDesc(z), bytes.NewReader(z), digest.FromBytes(raw), IngestOptions{NoTree: os.Geteuid() != 0})
		if err != nil {
			return err
		}
		return nameImage(ctx, s, "new", info.DiffID)
	},
	"commit": func(ctx context.Context, s *Store) error {
		old, err := s.Resolve("old", nil)
		if err != nil {
			return err
		}
		snap, err := s.Mount(ctx, old.Chain, MountOptions{Writable: true})
		if err != nil {
			return err
		}
		defer snap.Close()
		if err := os.WriteFile(filepath.Join(snap.Upper(), "written"), []byte("x"), 0o644); err != nil {
			return err
		}
		info, err := snap.Commit(ctx, diff.PackOptions{})
		if err != nil {
			return err
		}
		return nameImage(ctx, s, "new", append(old.Chain, info.DiffID)...)
	},
	"collect": func(ctx context.Context, s *Store) error {
		_, err := s.Collect(ctx, CollectOptions{Dangling: true, Cache: true})
		return err
	},
	"tag": func(ctx context.Context, s *Store) error {
		old, err := s.ResolveDescriptor("old")
		if err != nil {
			return err
		}
		if err := s.Tag(ctx, "another", old); err != nil {
			return err
		}
		if err := s.Untag(ctx, "another"); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		return nil
	},
}

func nameImage(ctx context.Context, s *Store, name string, chain ...digest.Digest) error {
	img, err := s.PutImage(ctx, testConfig("amd64", chain...), chain, PutImageOptions{})
	if err != nil {
		return err
	}
	return s.Tag(ctx, name, descOf(ocispec.MediaTypeImageConfig, img.Config))
}

// crashStore makes a store with something old in it, on memory where there is one.
func crashStore(t *testing.T) string {
	t.Helper()
	root := filepath.Join(memoryDir(t), "s")
	s, err := Open(root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d := testLayer(t, s, string(emptyTar("old")))
	if err := nameImage(context.Background(), s, "old", d); err != nil {
		t.Fatal(err)
	}
	testImage(t, s, string(emptyTar("dangling")), "")
	return root
}

// survives checks the store after a crash, and does the operation again.
func survives(t *testing.T, op, root string, acknowledged bool) {
	t.Helper()
	s := reopen(t, root)
	clean(t, s)
	img, err := s.Resolve("old", nil)
	if err != nil {
		t.Fatalf("the old image: %v", err)
	}
	r, err := s.OpenTar(context.Background(), img.Chain[0])
	if err != nil {
		t.Fatalf("the old layer: %v", err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatalf("the old layer: %v", err)
	}
	if acknowledged {
		hasResult(t, op, s)
	}
	s.Close()
	s = reopen(t, root)
	if err := crashOps[op](context.Background(), s); err != nil {
		t.Fatalf("again: %v", err)
	}
	hasResult(t, op, s)
	s.Close()
	s = reopen(t, root)
	mustCollect(t, s, CollectOptions{})
	clean(t, s)
	for _, dir := range []string{"tmp", "trash"} {
		if left, _ := os.ReadDir(s.path(dir)); len(left) > 0 {
			t.Fatalf("left in %s: %v", dir, left)
		}
	}
}

func hasResult(t *testing.T, op string, s *Store) {
	t.Helper()
	switch op {
	case "put":
		if _, err := s.StatBlob(digest.FromBytes(bytes.Repeat([]byte("blob"), 1<<16))); err != nil {
			t.Fatalf("an acknowledged blob: %v", err)
		}
	case "build", "ingest", "commit":
		img, err := s.Resolve("new", nil)
		if err != nil {
			t.Fatalf("an acknowledged image: %v", err)
		}
		for _, d := range img.Chain {
			if !s.whole(d) {
				t.Fatalf("layer %s of an acknowledged image is not whole", d)
			}
			if path := first(s.find("layers", d)); path != s.kept("layers", d) {
				t.Fatalf("layer of an acknowledged image lies at %s", path)
			}
		}
	}
}

// points chooses the calls at which to strike: all of them, or a sample.
func points(t *testing.T, calls, sample int) []int {
	seed := uint64(time.Now().UnixNano())
	t.Logf("%d calls, seed %d", calls, seed)
	return rand.New(rand.NewPCG(seed, 0)).Perm(calls)[:faults.Strikes(sample, calls)]
}

// outcome of a supervised operation.
type outcome struct {
	faults.Outcome
	acknowledged bool
	stderr       string
}

// supervise runs an operation in a process of its own and strikes at a call of it, as faults.Strike does.
func supervise(t *testing.T, op, root string, at int, fault syscall.Errno) outcome {
	t.Helper()
	var out, stderr bytes.Buffer
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashOp+"="+op, crashRoot+"="+root, crashTrap+"=1", "GOMAXPROCS=2")
	cmd.Stdout, cmd.Stderr = &out, &stderr
	res, err := faults.Strike(cmd, at, fault)
	if errors.Is(err, faults.ErrNoListener) {
		t.Skipf("%v: %s", err, stderr.String())
	} else if err != nil {
		t.Fatal(err)
	}
	return outcome{res, strings.Contains(out.String(), "acknowledged"), stderr.String()}
}

func TestCrashAtEveryCall(t *testing.T) {
	for _, op := range []string{"put", "build", "ingest", "commit", "collect", "tag"} {
		t.Run(op, func(t *testing.T) {
			if op == "commit" || op == "ingest" {
				needRoot(t)
			}
			base := supervise(t, op, crashStore(t), 0, 0)
			if !base.acknowledged || base.Calls == 0 {
				t.Fatalf("undisturbed: %+v", base)
			}
			for fault, sample := range map[syscall.Errno]int{0: 8, unix.EIO: 4, unix.ENOSPC: 4} {
				for _, k := range points(t, base.Calls, sample) {
					t.Run(fmt.Sprintf("%d-%d", int(fault), k+1), func(t *testing.T) {
						root := crashStore(t)
						res := supervise(t, op, root, k+1, fault)
						if (res.Hit == unix.SYS_FSYNC || res.Hit == unix.SYS_SYNCFS) && res.acknowledged && fault != 0 {
							t.Fatalf("acknowledged after a failed sync: %+v", res)
						}
						if !res.acknowledged && res.Code == 0 {
							t.Fatalf("neither acknowledged nor an error: %+v", res)
						}
						survives(t, op, root, res.acknowledged)
					})
				}
			}
		})
	}
}

// powerMounts are the ways in which the disk that loses power is mounted: ext4 orders and delays what it writes by them.
var powerMounts = map[string]string{"ordered": "loop", "writeback": "loop,data=writeback,commit=1000", "undelayed": "loop,nodelalloc,commit=1"}

// What was acknowledged is there after the power fails: ext4 on a loop device is
// shut down without a flush, as FS_IOC_GOINGDOWN does it.
func TestPowerLoss(t *testing.T) {
	needRoot(t)
	cuts := faults.Strikes(1, 20)
	for _, op := range []string{"put", "build", "ingest", "commit"} {
		for how, mount := range powerMounts {
			if how != "ordered" && op != "build" && cuts == 1 {
				continue
			}
			for n := range cuts {
				t.Run(op+" "+how+" "+strconv.Itoa(n), func(t *testing.T) { powerLoss(t, op, mount) })
			}
		}
	}
}

func powerLoss(t *testing.T, op, options string) {
	dir, err := os.MkdirTemp("/dev/shm", "hod-power-")
	if err != nil {
		t.Skipf("no memory file system: %v", err)
	}
	defer os.RemoveAll(dir)
	image, at := filepath.Join(dir, "disk"), filepath.Join(dir, "mnt")
	os.Mkdir(at, 0o700)
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	f.Truncate(64 << 20)
	f.Close()
	if out, err := exec.Command("mkfs.ext4", "-q", image).CombinedOutput(); err != nil {
		t.Skipf("no ext4 here: %s", out)
	}
	mount := func() {
		if out, err := exec.Command("mount", "-o", options, image, at).CombinedOutput(); err != nil {
			t.Skipf("no loop mounts here: %s", out)
		}
	}
	mount()
	defer unix.Unmount(at, unix.MNT_DETACH)
	root := filepath.Join(at, "s")
	s := reopen(t, root)
	d := testLayer(t, s, string(emptyTar("old")))
	if err := nameImage(context.Background(), s, "old", d); err != nil {
		t.Fatal(err)
	}
	if err := crashOps[op](context.Background(), s); err != nil {
		t.Fatal(err)
	}
	goDown(t, at)
	s.Close() // fails, as any process that lived then
	if err := unix.Unmount(at, 0); err != nil {
		t.Fatal(err)
	}
	// Of a copy, since the disk that went down lives on where another process' mount namespace has it.
	if out, err := exec.Command("cp", "--sparse=always", image, image+"-after").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	image += "-after"
	mount()
	// Another boot: what lay on the shelf of this one is gone.
	after, err := Open(root, Options{BootID: "another"})
	if err != nil {
		t.Fatal(err)
	}
	hasResult(t, op, after)
	clean(t, after)
	mustCollect(t, after, CollectOptions{}) // or that shelf would be looked at again: this boot is the old one
	after.Close()
	survives(t, op, root, false)
}

func goDown(t *testing.T, at string) {
	f, err := os.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	noLogFlush := uint32(2)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), 0x8004587d, uintptr(unsafe.Pointer(&noLogFlush))); errno != 0 {
		t.Skipf("this kernel cannot shut a file system down: %v", errno)
	}
}
