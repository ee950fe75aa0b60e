//go:build linux

package main_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers/granted"
	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// hod is the static binary under test, built once.
var hod string

func TestMain(m *testing.M) {
	if addr := os.Getenv("HOD_TEST_NAMES"); addr != "" {
		serveNames(addr)
	}
	counted()
	struck()
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "hod-script-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		if err := os.Chmod(dir, 0o755); err != nil { // for asuser
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		hod = filepath.Join(dir, "hod")
		if err := compile(".", hod); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if err := asOldKernel(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// asOldKernel puts testdata/oldkernel in front of hod, where HOD_TEST_OLD asks
// for it: hod then sees a kernel of version 5.15.
func asOldKernel(dir string) error {
	if os.Getenv("HOD_TEST_OLD") == "" {
		return nil
	}
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o755); err != nil {
		return err
	}
	if err := os.Rename(hod, filepath.Join(dir, "real", "hod")); err != nil {
		return err
	}
	return compile("testdata/oldkernel", hod)
}

// compile makes the static program of a folder; HOD_TEST_BIN is a folder where
// they are already, for machines without Go.
func compile(dir, to string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	build := exec.Command("go", "build", "-trimpath", "-tags", "urfave_cli_no_docs", "-o", to, ".")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if made := os.Getenv("HOD_TEST_BIN"); made != "" {
		build = exec.Command("cp", filepath.Join(made, filepath.Base(abs)), to)
	}
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %v\n%s", abs, err, out)
	}
	return nil
}

// program NAME FILE compiles the program of testdata/NAME.
func program(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: program NAME FILE")
	}
	to := ts.MkAbs(args[1])
	ts.Check(os.MkdirAll(filepath.Dir(to), 0o755))
	ts.Check(compile(filepath.Join("testdata", args[0]), to))
}

// TestScript runs testdata/script/AREA/*.txtar, each in a folder and a store of
// its own.
func TestScript(t *testing.T) {
	areas, err := filepath.Glob("../../testdata/script/*")
	if err != nil || len(areas) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, area := range areas {
		t.Run(filepath.Base(area), func(t *testing.T) {
			testscript.Run(t, testscript.Params{
				Dir: area, Setup: setup, Condition: condition, Cmds: commands, RequireExplicitExec: true,
				ContinueOnError: false,
			})
		})
	}
}

func setup(e *testscript.Env) error {
	e.Setenv("PATH", filepath.Dir(hod)+":"+e.Getenv("PATH")+":/usr/sbin:/sbin")
	e.Setenv("HOD_ROOT", filepath.Join(e.WorkDir, ".hod"))
	e.Setenv("HOME", e.WorkDir)
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		return err
	}
	e.Setenv("EXAMPLES", examples)
	e.Setenv("NO_COLOR", "1")
	e.Setenv("HOD_TEST_FULL", os.Getenv("HOD_TEST_FULL"))
	if self, err := os.Executable(); err == nil {
		e.Setenv("TESTBIN", self)
	}
	if cache, err := os.UserCacheDir(); err == nil { // the host's: compiling is not what is tested
		e.Setenv("GOCACHE", filepath.Join(cache, "go-build"))
	}
	// For asuser and asmapped, who must get there.
	return errors.Join(os.Chmod(e.WorkDir, 0o755), os.Chmod(filepath.Dir(e.WorkDir), 0o755))
}

// condition knows [root], [full], [userns], [mapped], [unified], [apparmor], [scopes], [timens], [binfmt] and [tool:NAME].
func condition(name string) (bool, error) {
	switch {
	case name == "root":
		return granted.Root(), nil
	case name == "userns":
		return granted.Namespaces(), nil
	case name == "mapped":
		return maySimulate(), nil
	case name == "unified": // control groups version 2 and no other
		_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
		return err == nil, nil
	case name == "apparmor":
		on, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled")
		return strings.HasPrefix(string(on), "Y"), nil
	case name == "scopes": // Landlock's of signals and abstract sockets, Linux 6.12
		version, _, _ := syscall.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
		return int(version) >= 6, nil
	case name == "timens": // entered by execve
		return rootfs.KernelFrom(6, 2), nil
	case name == "binfmt":
		return registers(), nil
	case name == "full":
		return os.Getenv("HOD_TEST_FULL") != "", nil
	case strings.HasPrefix(name, "tool:"):
		_, err := exec.LookPath(name[len("tool:"):])
		return err == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// commands are what scripts can say besides exec, stdout, cmp and the like.
var commands = map[string]func(*testscript.TestScript, bool, []string){
	"base":     base,
	"program":  program,
	"tree":     tree,
	"config":   config,
	"asuser":   asuser,
	"asmapped": asmapped,
	"owners":   owners,
	"jsoncmp":  jsoncmp,
	"eq":       eq,
	"match":    match,
	"up":       up,
	"serve":    serve,
	"requests": requests,
	"busy":     busy,
	"emulate":  emulate,
}

// base NAME imports an image with busybox in it.
func base(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: base NAME")
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		ts.Fatalf("base needs busybox-static: %v", err)
	}
	list, err := exec.Command("/bin/busybox", "--list").Output()
	ts.Check(err)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, dir := range []string{"bin", "etc", "tmp", "root", "proc", "sys", "dev"} {
		mode := map[string]int64{"tmp": 0o1777, "root": 0o700}[dir]
		if mode == 0 {
			mode = 0o755
		}
		ts.Check(w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: mode}))
	}
	file := func(name, text string, mode int64) {
		ts.Check(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(text))}))
		_, err := io.WriteString(w, text)
		ts.Check(err)
	}
	file("bin/busybox", string(busybox), 0o755)
	for _, name := range strings.Fields(string(list)) {
		if name != "busybox" {
			ts.Check(w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777}))
		}
	}
	file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\nuser:x:1000:1000::/:/bin/sh\n", 0o644)
	file("etc/group", "root:x:0:\nnogroup:x:65534:\nuser:x:1000:\nextra:x:2000:user\n", 0o644)
	ts.Check(w.Close())
	path := ts.MkAbs(".base.tar")
	ts.Check(os.WriteFile(path, b.Bytes(), 0o644))
	ts.Check(ts.Exec(hod, "import", "--change", "CMD [\"/bin/sh\"]", "--change", "ENV PATH=/bin", path, args[0]))
	ts.Check(os.Remove(path))
}

// tree IMAGE prints its flattened file system, sorted, one entry a line:
// type, mode, uid:gid, size and digest or target, path.
func tree(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: tree IMAGE")
	}
	path := ts.MkAbs(".tree.tar")
	ts.Check(ts.Exec(hod, "export", "-o", path, args[0]))
	f, err := os.Open(path)
	ts.Check(err)
	defer os.Remove(path)
	defer f.Close()
	var lines []string
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		ts.Check(err)
		sum := sha256.New()
		_, err = io.Copy(sum, r)
		ts.Check(err)
		what := h.Linkname
		if h.Typeflag == tar.TypeReg {
			what = fmt.Sprintf("%d/%.8x", h.Size, sum.Sum(nil))
		}
		lines = append(lines, fmt.Sprintf("%s\t%c %04o %d:%d %s", strings.TrimSuffix(h.Name, "/"), h.Typeflag, h.Mode, h.Uid, h.Gid, what))
	}
	sort.Strings(lines)
	for _, l := range lines {
		name, rest, _ := strings.Cut(l, "\t")
		fmt.Fprintln(ts.Stdout(), rest, name)
	}
}

// config IMAGE prints its config as inspect shows it.
func config(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: config IMAGE")
	}
	ts.Check(ts.Exec(hod, "inspect", "--format", "{{json .Config}}", args[0]))
	fmt.Fprint(ts.Stdout(), ts.ReadFile("stdout"))
}

// asuser COMMAND… runs as uid 65534 with a store of its own.
func asuser(ts *testscript.TestScript, neg bool, args []string) {
	if os.Getuid() != 0 {
		if err := ts.Exec(args[0], args[1:]...); (err != nil) != neg {
			ts.Fatalf("asuser %v: %v", args, err)
		}
		return
	}
	home := ts.MkAbs(".user")
	ts.Check(os.MkdirAll(home, 0o755))
	ts.Check(os.Chown(home, 65534, 65534))
	all := append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=" + home, "TMPDIR=" + home, "HOD_ROOT=" + home + "/.hod"}, args...)
	if err := ts.Exec("setpriv", all...); (err != nil) != neg {
		ts.Fatalf("asuser %v: %v", args, err)
	}
}

// jsoncmp FILE FILE compares what two JSON files mean.
func jsoncmp(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: jsoncmp FILE FILE")
	}
	var a, b any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &a))
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &b))
	if reflect.DeepEqual(a, b) == neg {
		ts.Fatalf("%s and %s: equal is %v", args[0], args[1], neg)
	}
}

// eq A B compares two words, which may be file names stdout and stderr.
func eq(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: eq A B")
	}
	for i, a := range args {
		if a == "stdout" || a == "stderr" {
			args[i] = strings.TrimRight(ts.ReadFile(a), "\n")
		}
	}
	if (args[0] == args[1]) == neg {
		ts.Fatalf("%q and %q: equal is %v", args[0], args[1], neg)
	}
}

// match REGEXP FILE looks for a pattern in a whole file.
func match(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: match REGEXP FILE")
	}
	if regexp.MustCompile(args[0]).MatchString(ts.ReadFile(args[1])) == neg {
		ts.Fatalf("%s matches %q is %v:\n%s", args[1], args[0], !neg, ts.ReadFile(args[1]))
	}
}

// up ADDRESS waits until a server listens there.
func up(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: up HOST:PORT")
	}
	for range 200 {
		c, err := net.Dial("tcp", args[0])
		if err == nil {
			c.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("nobody listens at %s", args[0])
}
