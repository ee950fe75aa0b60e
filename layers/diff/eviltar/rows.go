package eviltar

import (
	"archive/tar"
	"bytes"
	"fmt"
	"strings"
	"time"
)

// patched is an archive of one entry whose header is changed and summed again.
func patched(h tar.Header, change func(header []byte)) []byte {
	b := Headers(h)
	change(b[:512])
	copy(b[148:156], "        ")
	sum := 0
	for _, c := range b[:512] {
		sum += int(c)
	}
	copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// base256 writes a number as GNU tar writes those that octal digits cannot say.
func base256(field []byte, v int64) {
	for i := len(field) - 1; i >= 0; i-- {
		field[i] = byte(v)
		v >>= 8
	}
	field[0] |= 0x80
}

func withRecords(h tar.Header, records map[string]string) tar.Header {
	h.PAXRecords = records
	return h
}

// overlays is row U8: what overlayfs would take for its own.
func overlays() []Case {
	list := []Case{
		{Row: "U8", Name: "overlay whiteout", Tar: Headers(device("etc", 0, 0)), Refuse: true},
		{Row: "U8", Name: "overlay whiteout in a folder", Tar: Headers(folder("etc"), device("etc/passwd", 0, 0)), Refuse: true},
		{Row: "U8", Name: "attribute that looks like overlay's", Tar: Headers(withRecords(file("f"), map[string]string{"SCHILY.xattr.user.overlayed": "y"})),
			Want: map[string]string{"f": "evil"}},
	}
	for _, space := range []string{"trusted", "user"} {
		for _, name := range []string{"opaque", "redirect", "metacopy", "whiteout", "origin"} {
			list = append(list, Case{Row: "U8", Name: space + ".overlay." + name,
				Tar:  Headers(withRecords(folder("d"), map[string]string{"SCHILY.xattr." + space + ".overlay." + name: "y"}), file("d/f")),
				Want: map[string]string{"d/f": "evil"}})
		}
	}
	return list
}

// devices is row U9.
func devices() []Case {
	var list []Case
	for _, n := range [][2]int64{{1 << 12, 0}, {0, 1 << 20}, {1 << 32, 3}, {1, 1<<32 + 3}, {1 << 40, 0}, {-1, 0}, {1, -1}} {
		list = append(list, Case{Row: "U9", Name: fmt.Sprintf("device %d:%d", n[0], n[1]), Tar: Headers(device("dev", n[0], n[1])), Refuse: true})
	}
	return append(list, Case{Row: "U9", Name: "devices of this world", Tar: Headers(folder("dev"), device("dev/null", 1, 3), tar.Header{Name: "dev/sda", Typeflag: tar.TypeBlock, Devmajor: 8}),
		Want: map[string]string{"dev": "folder"}})
}

// tricks are rows U11 to U13 and U16: headers that lie or cost.
func tricks() []Case {
	big := strings.Repeat("v", 64<<10+1)
	list := []Case{
		{Row: "U13", Name: "owner -1", Tar: Headers(tar.Header{Name: "a", Typeflag: tar.TypeReg, Uid: 1<<32 - 1}), Refuse: true},
		{Row: "U13", Name: "owner beyond 32 bits", Tar: Headers(tar.Header{Name: "a", Typeflag: tar.TypeReg, Uid: 1 << 32}), Refuse: true},
		{Row: "U13", Name: "owner below zero", Tar: patched(file("a"), func(h []byte) { base256(h[108:116], -2) }), Refuse: true},
		{Row: "U13", Name: "size below zero", Tar: patched(file("a"), func(h []byte) { base256(h[124:136], -512) }), Refuse: true},
		{Row: "U13", Name: "size without end", Tar: patched(file("a"), func(h []byte) { base256(h[124:136], 1<<62) }), Refuse: true},
		{Row: "U13", Name: "checksum does not fit", Tar: badSum(), Refuse: true},
		{Row: "U13", Name: "unknown type", Tar: patched(file("a"), func(h []byte) { h[156] = 'Q' }), Refuse: true},
		{Row: "U13", Name: "record of a gigabyte", Tar: patched(tar.Header{Name: "p", Typeflag: tar.TypeReg}, func(h []byte) { h[156] = 'x'; copy(h[124:136], "10000000000\x00") }), Refuse: true},
		{Row: "U13", Name: "name of 256 bytes", Tar: Headers(file(strings.Repeat("x", 256))), Refuse: true},
		{Row: "U13", Name: "path of a megabyte", Tar: Headers(file(strings.Repeat("d/", 400<<10) + "f")), Refuse: true},
		{Row: "U11", Name: "attribute beyond 64 KiB", Tar: Headers(withRecords(file("f"), map[string]string{"SCHILY.xattr.user.x": big})), Refuse: true},
		{Row: "U11", Name: "labels of the host's security", Tar: Headers(withRecords(file("f"), map[string]string{"SCHILY.xattr.security.selinux": "x", "SCHILY.xattr.security.ima": "x"})),
			Want: map[string]string{"f": "evil"}},
		{Row: "U12", Name: "hole of 4 EiB", Tar: Sparse(1 << 62), Refuse: true},
		{Row: "U12", Name: "hole of a megabyte", Tar: Sparse(1 << 20), Want: map[string]string{}},
		{Row: "U13", Name: "time beyond all file systems", Tar: Headers(tar.Header{Name: "f", Typeflag: tar.TypeReg, ModTime: time.Unix(1e18, 0), Format: tar.FormatPAX}), Want: map[string]string{"f": "evil"}},
		{Row: "U13", Name: "time before all file systems", Tar: Headers(tar.Header{Name: "f", Typeflag: tar.TypeReg, ModTime: time.Unix(-1e15, 0), Format: tar.FormatPAX}), Want: map[string]string{"f": "evil"}},
		{Row: "U13", Name: "control characters in a name", Tar: Headers(file("a\nb\x1b[31m")), Want: map[string]string{"a\nb\x1b[31m": "evil"}},
		{Row: "U13", Name: "long names and high owners", Tar: Headers(file(strings.Repeat("x", 255)), tar.Header{Name: "f", Typeflag: tar.TypeReg, Uid: 1 << 31, Gid: 1<<32 - 2}),
			Want: map[string]string{strings.Repeat("x", 255): "evil", "f": "evil"}},
	}
	return list
}

func badSum() []byte {
	b := Headers(file("a"))
	b[0] = 'b'
	return b
}

// duplicates is row U14: the last one wins.
func duplicates() []Case {
	return []Case{
		{Row: "U14", Name: "file, folder, symlink, file", Tar: Headers(file("a"), folder("a"), file("a/x"), link("a", "b"), file("a")), Want: map[string]string{"a": "evil"}},
		{Row: "U14", Name: "folder twice", Tar: Headers(folder("a"), file("a/x"), folder("a"), file("a/y")), Want: map[string]string{"a/x": "evil", "a/y": "evil"}},
		{Row: "U14", Name: "file becomes a folder", Tar: Headers(file("a"), folder("a"), file("a/x")), Want: map[string]string{"a/x": "evil"}},
		{Row: "U14", Name: "what a hard link names is replaced", Tar: Headers(file("a"), hard("b", "a"), link("a", "c")), Want: map[string]string{"a": "-> c", "b": "evil"}},
	}
}

// Sparse is a PAX 1.0 sparse file of that size with four bytes in it.
func Sparse(size int64) []byte {
	body := "1\n0\n4\n"
	body += strings.Repeat("\x00", 512-len(body)) + "evil"
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	h := tar.Header{Name: "f", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(body)), Format: tar.FormatPAX, PAXRecords: map[string]string{"comment": strings.Repeat("x", 600)}}
	if err := w.WriteHeader(&h); err != nil {
		panic(err)
	}
	w.Write([]byte(body))
	w.Close()
	// archive/tar does not write GNU's records: they take the comment's place, which is long enough.
	return replaceRecords(b.Bytes(), map[string]string{"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "f", "GNU.sparse.realsize": fmt.Sprint(size)})
}

func replaceRecords(b []byte, records map[string]string) []byte {
	var text string
	for k, v := range records {
		text += record(k, v)
	}
	var n int64
	fmt.Sscanf(string(b[124:135]), "%o", &n)
	text += record("comment", strings.Repeat("y", int(n)-len(text)-len("100 comment=\n")))
	copy(b[512:512+n], text)
	return b
}

func record(k, v string) string {
	n := len(k) + len(v) + 3
	n += len(fmt.Sprint(n + len(fmt.Sprint(n))))
	return fmt.Sprintf("%d %s=%s\n", n, k, v)
}
