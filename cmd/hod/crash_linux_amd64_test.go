package main_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers/faults"
	"github.com/hodbuild/hod/layers/granted"
	"golang.org/x/sys/unix"
)

// struck becomes the command when this process was started to strike it.
func struck() { faults.Become() }

// crashVerbs are the commands that are struck at their N-th system call, and what they leave. The store has the image old,
// a dangling image and the image spare; REGISTRY serves an image, and spare.tar holds one.
var crashVerbs = []crashVerb{
	{"pull", []string{"pull", "-q", "REGISTRY/app:1"}, "REGISTRY/app:1", ""},
	{"build", []string{"build", "-q", "--network=none", "-t", "new", "."}, "new", ""},
	{"tag", []string{"tag", "old", "another"}, "another", ""},
	{"rmi", []string{"rmi", "-f", "spare"}, "", "spare"},
	{"prune", []string{"prune", "-f", "--cache"}, "old", ""},
	{"load", []string{"load", "-q", "-i", "app.tar"}, "app", ""},
	{"save", []string{"save", "-o", "out.tar", "old"}, "", ""},
}

type crashVerb struct {
	name string
	args []string
	has  string // the image that is there afterwards
	gone string // and the one that is not
}

// crashBed is a folder with a recipe and archives, and a store to copy.
type crashBed struct {
	t             *testing.T
	dir, template string
	registry      string
	want          map[string]string // the files of each image, as a digest of its export
}

// newCrashBed makes one; the image that comes from elsewhere has a file of so many bytes.
func newCrashBed(t *testing.T, size int) *crashBed {
	dir, err := os.MkdirTemp("/dev/shm", "hod-crash-")
	if err != nil {
		t.Skipf("no memory file system: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &crashBed{t: t, dir: dir, template: filepath.Join(dir, "template"), want: map[string]string{}}
	b.registry = guardInputs(t, dir, b.template)
	script := `
set -e
"$HOD" tag base old
"$HOD" build -q --network=none -t gone .
head -c ` + strconv.Itoa(size) + ` /dev/urandom > file
"$HOD" build -q --network=none -t gone .
mkdir spare && echo spare > spare/file && tar --owner=0 --group=0 -C spare -cf spare.tar .
"$HOD" import spare.tar spare
"$HOD" build -q --network=none -t ` + b.registry + `/app:1 -t app .
"$HOD" push -q ` + b.registry + `/app:1
"$HOD" save -o app.tar app
"$HOD" rmi ` + b.registry + `/app:1 app
echo again > file`
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOD="+hod, "HOD_ROOT="+b.template)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("prepare: %v\n%s", err, out)
	}
	return b
}

// store copies the template into a folder, which is the bed's own if left out.
func (b *crashBed) store(t *testing.T, dir string) string {
	t.Helper()
	at := filepath.Join(cmp.Or(dir, b.dir), "s")
	for _, argv := range [][]string{{"rm", "-rf", at}, {"cp", "-a", b.template, at}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", argv, err, out)
		}
	}
	return at
}

func (b *crashBed) argv(args []string) []string {
	argv := []string{hod}
	for _, a := range args {
		argv = append(argv, strings.ReplaceAll(a, "REGISTRY", b.registry))
	}
	return argv
}

// strike runs a verb with its output in files: what it started may live on a moment after it was killed.
func (b *crashBed) strike(t *testing.T, root string, args []string, at int, fault syscall.Errno, only ...int32) faults.Outcome {
	t.Helper()
	cmd, err := faults.Command(b.argv(args)...)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(b.dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.dir, out, out
	cmd.Env = append(cmd.Env, "HOD_ROOT="+root, "GOMAXPROCS=2")
	res, err := faults.Strike(cmd, at, fault, only...)
	if errors.Is(err, faults.ErrNoListener) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	return res
}

func (b *crashBed) hod(root string, args ...string) ([]byte, error) {
	argv := b.argv(args)
	cmd := exec.Command(argv[0], argv[1:]...)
	var out, stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = b.dir, append(os.Environ(), "HOD_ROOT="+root), &out, &stderr
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%v: %w: %s%s", args, err, out.String(), stderr.String())
	}
	return out.Bytes(), err
}

// holds checks that an image has the files that it had whenever it was looked at first.
func (b *crashBed) holds(t *testing.T, root, image string) {
	t.Helper()
	if image == "" {
		return
	}
	files, err := b.hod(root, "export", image)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%x", sha256.Sum256(files))
	if want := b.want[image]; want == "" {
		b.want[image] = got
	} else if got != want {
		t.Fatalf("the files of %s changed", image)
	}
}

// sound checks a store after a strike: clean, what was there is there, and nothing is left after a prune.
func (b *crashBed) sound(t *testing.T, root string) {
	t.Helper()
	if _, err := b.hod(root, "fsck"); err != nil {
		t.Fatal(err)
	}
	b.holds(t, root, "old")
}

func (b *crashBed) result(t *testing.T, root, has, gone string) {
	t.Helper()
	b.holds(t, root, has)
	if gone == "" {
		return
	}
	if out, err := b.hod(root, "images", "-q", gone); err != nil || len(out) > 0 {
		t.Fatalf("%s is still there: %s %v", gone, out, err)
	}
}

// TestCrashOfVerbs kills the real binary at each call that changes a file system, and lets each such call fail, in one way or
// the other; in the short form at some of them. The next command works without a repair, what was acknowledged is there, and
// the same command again does what it should. The long form does two verbs side by side.
func TestCrashOfVerbs(t *testing.T) {
	if !granted.Root() {
		t.Skip("the supervised processes make namespaces, which needs root")
	}
	full := os.Getenv("HOD_TEST_FULL") != ""
	var shared *crashBed
	if !full {
		shared = newCrashBed(t, 100)
	}
	for _, v := range crashVerbs {
		t.Run(v.name, func(t *testing.T) {
			b := shared
			if full {
				t.Parallel()
				b = newCrashBed(t, 100)
			}
			root := b.store(t, "")
			base := b.strike(t, root, v.args, 0, 0)
			if base.Code != 0 || base.Calls == 0 {
				out, _ := os.ReadFile(filepath.Join(b.dir, "out"))
				t.Fatalf("undisturbed: %+v: %s", base, out)
			}
			b.sound(t, root)
			b.result(t, root, v.has, v.gone)
			for i, k := range crashPoints(t, base.Calls, 3) {
				t.Run(fmt.Sprintf("0-%d", k+1), func(t *testing.T) { b.survives(t, v, k+1, 0) })
				if errno := []syscall.Errno{unix.EIO, unix.ENOSPC}[i%2]; full || i < 2 {
					t.Run(fmt.Sprintf("%d-%d", int(errno), k+1), func(t *testing.T) { b.survives(t, v, k+1, errno) })
				}
			}
		})
	}
}

// TestSyncsOfVerbs lets each sync of each verb fail as it does on a disk that lost what it had taken: the verb fails and names
// the disk's error. The short form takes the verbs that between them sync in every way, the long one looks at the store too.
func TestSyncsOfVerbs(t *testing.T) {
	granted.NeedRoot(t, "the supervised processes make namespaces")
	b, full := newCrashBed(t, 100), os.Getenv("HOD_TEST_FULL") != ""
	for _, v := range crashVerbs {
		if full || v.name == "build" || v.name == "tag" || v.name == "rmi" {
			t.Run(v.name, func(t *testing.T) { b.syncsFail(t, v, full) })
		}
	}
}

func (b *crashBed) syncsFail(t *testing.T, v crashVerb, look bool) {
	for at := 1; ; at++ {
		root := b.store(t, "")
		res := b.strike(t, root, v.args, at, unix.EIO, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNCFS)
		if res.Hit < 0 {
			t.Logf("%d syncs", res.Calls)
			return
		}
		out, _ := os.ReadFile(filepath.Join(b.dir, "out"))
		if res.Code <= 0 || !bytes.Contains(out, []byte(unix.EIO.Error())) {
			t.Errorf("sync %d fails: exit %d: %s", at, res.Code, out)
		}
		if look {
			b.sound(t, root)
		}
	}
}

// survives strikes a verb once, at its N-th call.
func (b *crashBed) survives(t *testing.T, v crashVerb, at int, errno syscall.Errno) {
	root := b.store(t, "")
	res := b.strike(t, root, v.args, at, errno)
	b.sound(t, root)
	if res.Code == 0 && (v.has == "" || errno == 0) {
		b.result(t, root, v.has, v.gone)
	}
	if (res.Hit == unix.SYS_FSYNC || res.Hit == unix.SYS_SYNCFS) && res.Code == 0 {
		t.Fatalf("exit 0 after a failed sync: %+v", res)
	}
	if _, err := b.hod(root, v.args...); err != nil {
		t.Fatalf("again: %v", err)
	}
	b.result(t, root, v.has, v.gone)
	b.leavesNothing(t, root)
}

func (b *crashBed) leavesNothing(t *testing.T, root string) {
	t.Helper()
	if _, err := b.hod(root, "prune", "-f"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.hod(root, "fsck"); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"tmp", "trash", "mounts"} {
		if left, _ := os.ReadDir(filepath.Join(root, dir)); len(left) > 0 {
			t.Fatalf("left in %s: %v", dir, left)
		}
	}
}

// crashPoints chooses the calls at which to strike: all of them, or a sample.
func crashPoints(t *testing.T, calls, sample int) []int {
	seed := uint64(time.Now().UnixNano())
	t.Logf("%d calls, seed %d", calls, seed)
	return rand.New(rand.NewPCG(seed, 0)).Perm(calls)[:faults.Strikes(sample, calls)]
}
