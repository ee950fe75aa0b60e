// Package eviltar makes archives that try to get out of where they are unpacked, for the tests of everything that unpacks.
package eviltar

import (
	"archive/tar"
	"bytes"
	"fmt"
)

// Case is an archive and whether it must be refused; those that need not be must stay inside the root.
type Case struct {
	Name   string
	Tar    []byte
	Refuse bool
}

// Headers makes an archive; each regular file holds the word evil.
func Headers(list ...tar.Header) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range list {
		if h.Typeflag == tar.TypeReg {
			h.Size = 4
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(&h); err != nil {
			panic(fmt.Sprintf("make evil archive: %v", err))
		}
		if h.Typeflag == tar.TypeReg {
			w.Write([]byte("evil"))
		}
	}
	w.Close()
	return b.Bytes()
}

var types = map[string]byte{
	"file": tar.TypeReg, "folder": tar.TypeDir, "symlink": tar.TypeSymlink, "hardlink": tar.TypeLink, "fifo": tar.TypeFifo,
	"device": tar.TypeChar,
}

func entry(name string, kind byte) tar.Header {
	h := tar.Header{Name: name, Typeflag: kind}
	switch kind {
	case tar.TypeSymlink, tar.TypeLink:
		h.Linkname = "target"
	case tar.TypeChar:
		h.Devmajor, h.Devminor = 1, 3
	}
	return h
}

// Cases is the corpus. outside is a folder of the host with a file called canary.
func Cases(outside string) []Case {
	var list []Case
	for _, name := range []string{"../x", "a/../../x", "../../../../x", "/../x", "./../x", "a/b/../../../x", ".."} {
		for t, kind := range types {
			list = append(list, Case{"name " + name + " " + t, Headers(entry(name, kind)), true})
		}
	}
	file := func(n string) tar.Header { return tar.Header{Name: n, Typeflag: tar.TypeReg} }
	link := func(n, to string) tar.Header { return tar.Header{Name: n, Typeflag: tar.TypeSymlink, Linkname: to} }
	hard := func(n, to string) tar.Header { return tar.Header{Name: n, Typeflag: tar.TypeLink, Linkname: to} }
	list = append(list,
		Case{"through absolute symlink", Headers(link("l", outside), file("l/canary")), false},
		Case{"through relative symlink", Headers(link("l", "../../../../../../../.."+outside), file("l/canary")), false},
		Case{"three hops", Headers(link("a", "b"), link("b", "c"), link("c", outside), file("a/canary")), false},
		Case{"replace what a symlink points to", Headers(link("canary", outside+"/canary"), file("canary")), false},
		Case{"folder over symlink", Headers(link("l", outside), tar.Header{Name: "l", Typeflag: tar.TypeDir}, file("l/canary")), false},
		Case{"hard link outside", Headers(hard("x", outside+"/canary")), true},
		Case{"hard link up", Headers(hard("x", "../canary")), true},
		Case{"hard link through symlink", Headers(link("l", outside), hard("x", "l/canary")), true},
		Case{"hard link to working folder", Headers(hard("x", "canary")), true},
		Case{"symlink loop", Headers(link("a", "b"), link("b", "a"), file("a/x")), true},
		Case{"hard link to itself", Headers(hard("a", "a")), true},
		Case{"whiteout through symlink", Headers(link("l", outside), file("l/.wh.canary")), false},
		Case{"opaque through symlink", Headers(link("l", outside), file("l/.wh..wh..opq")), false},
		Case{"overlay whiteout", Headers(tar.Header{Name: "etc", Typeflag: tar.TypeChar}), true},
		Case{"root is a file", Headers(file(".")), true},
		Case{"below a file", Headers(file("a"), file("a/b")), true},
		Case{"owner -1", Headers(tar.Header{Name: "a", Typeflag: tar.TypeReg, Uid: 1<<32 - 1}), true},
		Case{"device beyond 12 bits", Headers(tar.Header{Name: "a", Typeflag: tar.TypeChar, Devmajor: 1 << 12}), true},
	)
	for _, n := range []string{".wh.", ".wh..", ".wh...", "a/.wh.", "a/.wh..", "a/.wh...", ".wh..wh.x", ".wh..wh."} {
		list = append(list, Case{"whiteout first " + n, Headers(file(n), file("z")), true},
			Case{"whiteout last " + n, Headers(file("z"), file(n)), true})
	}
	return list
}
