package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"

	"github.com/rogpeppe/go-internal/testscript"
)

const binfmt = "/proc/sys/fs/binfmt_misc"

// registers says whether emulators can be registered here, and mounts the place where that is done.
func registers() bool {
	if _, err := os.Stat(binfmt + "/register"); err == nil {
		return true
	}
	return exec.Command("mount", "-t", "binfmt_misc", "binfmt_misc", binfmt).Run() == nil
}

var emulators atomic.Int32

// emulate [late] has QEMU run programs of aarch64 until the script ends. Late means that it is opened when a program
// starts, by the path that it has there, and not now.
func emulate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 1 || len(args) == 1 && args[0] != "late" {
		ts.Fatalf("usage: emulate [late]")
	}
	qemu, err := exec.LookPath("qemu-aarch64-static")
	ts.Check(err)
	flags := "F"
	if len(args) == 1 {
		flags = ""
	}
	name := fmt.Sprintf("hod-test-%d-%d", os.Getpid(), emulators.Add(1))
	rule := ":" + name + `:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00` +
		`:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:` + qemu + ":" + flags
	ts.Check(os.WriteFile(filepath.Join(binfmt, "register"), []byte(rule), 0))
	ts.Defer(func() { _ = os.WriteFile(filepath.Join(binfmt, name), []byte("-1"), 0) })
}
