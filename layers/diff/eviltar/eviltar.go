// Package eviltar makes archives that try to get out of where they are unpacked, or to cost more than they should, for the
// tests of everything that unpacks: layers, archives that are loaded or imported, ADD, and what registries hand out. Each
// row has harmless twins too, which look alike, exist in real images and must work.
package eviltar

import (
	"archive/tar"
	"bytes"
	"fmt"
)

// Case is an archive and whether it must be refused; those that need not be must stay inside the root.
type Case struct {
	Row    string // of the table of published attacks, as U4
	Name   string
	Tar    []byte
	Refuse bool
	// Alone says that reading the archive without what lies below it cannot tell that it is bad.
	Alone bool
	// Want is what a harmless twin unpacks to: a file's content, "-> target", or "folder".
	Want map[string]string
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

func file(n string) tar.Header   { return tar.Header{Name: n, Typeflag: tar.TypeReg} }
func folder(n string) tar.Header { return tar.Header{Name: n, Typeflag: tar.TypeDir} }
func link(n, to string) tar.Header {
	return tar.Header{Name: n, Typeflag: tar.TypeSymlink, Linkname: to}
}
func hard(n, to string) tar.Header { return tar.Header{Name: n, Typeflag: tar.TypeLink, Linkname: to} }
func device(n string, major, minor int64) tar.Header {
	return tar.Header{Name: n, Typeflag: tar.TypeChar, Devmajor: major, Devminor: minor, Format: tar.FormatGNU}
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
	for _, part := range [][]Case{names(), symlinks(outside), hardlinks(outside), whiteouts(outside), overlays(), devices(), tricks(), duplicates()} {
		list = append(list, part...)
	}
	return list
}

// names is row U1.
func names() []Case {
	var list []Case
	for _, name := range []string{
		"../x", "a/../../x", "../../../../x", "/../x", "./../x", "a/b/../../../x", "..", "/..", "..//x", "//../x", "a/./../../x",
		"../..", "a/../..", "/a/../../x", "./..", "a//..//..//x",
	} {
		for t, kind := range types {
			list = append(list, Case{Row: "U1", Name: "name " + name + " " + t, Tar: Headers(entry(name, kind)), Refuse: true})
		}
	}
	return append(list, Case{Row: "U1", Name: "no name", Tar: patched(file("x"), func(h []byte) { clear(h[:100]) }), Refuse: true},
		Case{Row: "U1", Name: "names that stay inside",
			Tar:  Headers(folder("./"), folder("/abs"), file("/abs/f"), folder("./rel/"), file("rel/../here"), file("..x"), file("a..b"), folder("...")),
			Want: map[string]string{"abs": "folder", "abs/f": "evil", "rel": "folder", "here": "evil", "..x": "evil", "a..b": "evil", "...": "folder"}})
}

// symlinks are rows U2 and U5.
func symlinks(outside string) []Case {
	up := "../../../../../../../.." + outside
	stay := map[string][]byte{
		"through absolute symlink":         Headers(link("l", outside), file("l/canary")),
		"through relative symlink":         Headers(link("l", up), file("l/canary")),
		"three hops":                       Headers(link("a", "b"), link("b", "c"), link("c", outside), file("a/canary")),
		"three hops backwards":             Headers(link("c", outside), link("b", "c"), link("a", "b"), file("a/canary")),
		"replace what a symlink points to": Headers(link("canary", outside+"/canary"), file("canary")),
		"folder over symlink":              Headers(link("l", outside), folder("l"), file("l/canary")),
		"dangling symlink":                 Headers(link("l", outside+"/new"), file("l")),
		"below a dangling symlink":         Headers(link("l", outside+"/new"), file("l/x")),
		"symlink to the root":              Headers(link("l", "/"), file("l/"+outside+"/canary")),
		"symlink to dot":                   Headers(link("l", "."), file("l/l/l/x")),
		"symlink to slash dot":             Headers(link("l", "/."), folder("l/d"), file("l/d/x")),
		"folder in a symlink":              Headers(link("l", outside), folder("l/d"), file("l/d/x")),
		"symlink in a symlink":             Headers(link("l", outside), link("l/m", outside), file("l/m/canary")),
		"fifo in a symlink":                Headers(link("l", outside), entry("l/canary", tar.TypeFifo)),
		"device in a symlink":              Headers(link("l", outside), entry("l/canary", tar.TypeChar)),
		"symlink over a folder":            Headers(folder("d"), file("d/x"), link("d", outside), file("d/canary")),
		"symlink with dots":                Headers(folder("d"), link("d/l", "../../../../"+outside), file("d/l/canary")),
		"mode through a symlink":           Headers(link("l", outside+"/canary"), tar.Header{Name: "l/.", Typeflag: tar.TypeDir, Mode: 0o777}),
	}
	var list []Case
	for name, data := range stay {
		list = append(list, Case{Row: "U2", Name: name, Tar: data})
	}
	return append(list,
		Case{Row: "U2", Name: "below a file", Tar: Headers(file("a"), file("a/b")), Refuse: true},
		Case{Row: "U2", Name: "root is a file", Tar: Headers(file(".")), Refuse: true},
		Case{Row: "U2", Name: "root is a symlink", Tar: Headers(link(".", outside)), Refuse: true},
		Case{Row: "U5", Name: "symlink loop", Tar: Headers(link("a", "b"), link("b", "a"), file("a/x")), Refuse: true},
		Case{Row: "U5", Name: "symlink to itself", Tar: Headers(link("a", "a"), file("a/x")), Refuse: true},
		Case{Row: "U2", Name: "merged usr", Tar: Headers(folder("usr"), folder("usr/lib"), link("lib", "usr/lib"), file("lib/x"), link("abs", "/usr/lib"), file("abs/y")),
			Want: map[string]string{"lib": "-> usr/lib", "usr/lib/x": "evil", "usr/lib/y": "evil"}},
		Case{Row: "U5", Name: "loop that nobody enters", Tar: Headers(link("a", "b"), link("b", "a")), Want: map[string]string{"a": "-> b", "b": "-> a"}})
}

// hardlinks is row U4.
func hardlinks(outside string) []Case {
	bad := map[string][]byte{
		"hard link outside":           Headers(hard("x", outside+"/canary")),
		"hard link up":                Headers(hard("x", "../canary")),
		"hard link far up":            Headers(hard("x", "../../../../../../../../etc/shadow")),
		"hard link through symlink":   Headers(link("l", outside), hard("x", "l/canary")),
		"hard link to working folder": Headers(hard("x", "canary")),
		"hard link to itself":         Headers(hard("a", "a")),
		"hard link to a folder":       Headers(folder("d"), hard("x", "d")),
		"hard link cycle":             Headers(hard("a", "b"), hard("b", "a")),
		"hard link to the root":       Headers(hard("x", ".")),
	}
	var list []Case
	for name, data := range bad {
		list = append(list, Case{Row: "U4", Name: name, Tar: data, Refuse: true, Alone: true})
	}
	return append(list,
		Case{Row: "U4", Name: "chmod through a hard link to a symlink", Tar: Headers(link("l", outside+"/canary"), hard("h", "l"), tar.Header{Name: "h", Typeflag: tar.TypeReg, Mode: 0o777})},
		Case{Row: "U4", Name: "hard links inside", Tar: Headers(folder("usr"), folder("usr/bin"), file("usr/bin/x"), hard("a", "/usr/bin/x"), hard("b", "usr/bin/x"), hard("c", "./b")),
			Want: map[string]string{"a": "evil", "b": "evil", "c": "evil", "usr/bin/x": "evil"}})
}

// whiteouts are rows U6 and U7.
func whiteouts(outside string) []Case {
	list := []Case{
		{Row: "U7", Name: "whiteout through symlink", Tar: Headers(link("l", outside), file("l/.wh.canary"))},
		{Row: "U7", Name: "opaque through symlink", Tar: Headers(link("l", outside), file("l/.wh..wh..opq"))},
		{Row: "U7", Name: "opaque root", Tar: Headers(file("a"), file(".wh..wh..opq"), file("b"))},
		{Row: "U7", Name: "opaque behind its siblings", Tar: Headers(folder("d"), file("d/x"), file("d/.wh..wh..opq")), Want: map[string]string{"d/x": "evil"}},
		{Row: "U6", Name: "whiteouts of nothing", Tar: Headers(file(".wh.no"), folder("d"), file("d/.wh.no"), file("d/.whx"), file("d/wh.x")),
			Want: map[string]string{"d/.whx": "evil", "d/wh.x": "evil"}},
	}
	for _, n := range []string{".wh.", ".wh..", ".wh...", "a/.wh.", "a/.wh..", "a/.wh...", ".wh..wh.x", ".wh..wh.", "a/.wh.../b/.wh..", "./.wh.", "/.wh...", "a/.wh..wh.x"} {
		list = append(list, Case{Row: "U6", Name: "whiteout first " + n, Tar: Headers(file(n), file("z")), Refuse: true},
			Case{Row: "U6", Name: "whiteout last " + n, Tar: Headers(file("z"), file(n)), Refuse: true})
	}
	return list
}
