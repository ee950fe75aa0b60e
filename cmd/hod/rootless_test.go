package main_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"

	"github.com/hodbuild/hod/layers/granted"
	"github.com/rogpeppe/go-internal/testscript"
)

// maySimulate says whether asmapped can be a user with subordinate ids.
func maySimulate() bool {
	for _, tool := range []string{"newuidmap", "newgidmap", "setpriv", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			return false
		}
	}
	return granted.Root()
}

// becomeMapped FILE COMMAND… is the script of a user to whom FILE grants subordinate ids.
const becomeMapped = `mount --bind "$1" /etc/subuid && mount --bind "$1" /etc/subgid && shift && exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"`

// asmapped COMMAND… runs as uid 65534 with 65536 subordinate ids (SUBIDS: as many) and a store of its own. The files
// that grant them are seen in a mount namespace only.
func asmapped(ts *testscript.TestScript, neg bool, args []string) {
	home := ts.MkAbs(".mapped")
	ts.Check(os.MkdirAll(home, 0o755))
	ts.Check(os.Chown(home, 65534, 65534))
	count := ts.Getenv("SUBIDS")
	if count == "" {
		count = "65536"
	}
	grant := ts.MkAbs(".subids")
	ts.Check(os.WriteFile(grant, []byte("nobody:1800000000:"+count+"\n"), 0o644))
	all := append([]string{"-m", "sh", "-c", becomeMapped, "sh", grant, "env", "HOME=" + home, "TMPDIR=" + home, "HOD_ROOT=" + home + "/.hod"}, args...)
	if err := ts.Exec("unshare", all...); (err != nil) != neg {
		ts.Fatalf("asmapped %v: %v", args, err)
	}
}

// owners FILE writes a root file system as a tar, with busybox and files of many owners, modes and a capability.
func owners(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: owners FILE")
	}
	busybox, err := os.ReadFile("/bin/busybox")
	ts.Check(err)
	list, err := exec.Command("/bin/busybox", "--list").Output()
	ts.Check(err)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, text string) {
		h.Size = int64(len(text))
		ts.Check(w.WriteHeader(&h))
		_, err := w.Write([]byte(text))
		ts.Check(err)
	}
	for _, d := range []tar.Header{
		{Name: "bin/", Mode: 0o755}, {Name: "etc/", Mode: 0o755}, {Name: "tmp/", Mode: 0o1777}, {Name: "root/", Mode: 0o700}, {Name: "home/", Mode: 0o755},
		{Name: "home/user/", Mode: 0o700, Uid: 1000, Gid: 1000}, {Name: "closed/", Mode: 0o000, Uid: 33, Gid: 33}, {Name: "var/", Mode: 0o2775, Gid: 50},
	} {
		d.Typeflag = tar.TypeDir
		add(d, "")
	}
	add(tar.Header{Name: "bin/busybox", Mode: 0o755}, string(busybox))
	for _, name := range strings.Fields(string(list)) {
		if name != "busybox" {
			add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777}, "")
		}
	}
	add(tar.Header{Name: "etc/passwd", Mode: 0o644}, "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
	add(tar.Header{Name: "etc/group", Mode: 0o644}, "root:x:0:\nwww:x:33:\nuser:x:1000:\nextra:x:2000:user\n")
	add(tar.Header{Name: "etc/shadow", Mode: 0o640, Gid: 42}, "hidden\n")
	add(tar.Header{Name: "home/user/secret", Mode: 0o600, Uid: 1000, Gid: 1000}, "mine\n")
	add(tar.Header{Typeflag: tar.TypeLink, Name: "home/user/same", Linkname: "home/user/secret"}, "")
	add(tar.Header{Name: "bin/able", Mode: 0o755, PAXRecords: map[string]string{
		"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	}}, "able")
	ts.Check(w.Close())
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b.Bytes(), 0o644))
}

// serveNames is a resolver for which every name is 198.51.100.2: this program is started again as one.
func serveNames(addr string) {
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	buf := make([]byte, 512)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil || n < 12 {
			continue
		}
		answer := append(append([]byte{}, buf[:2]...), 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0)
		answer = append(append(answer, buf[12:n]...), 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 51, 100, 2)
		c.WriteTo(answer, from)
	}
}
