//go:build linux

package diff

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hodbuild/hod/layers/granted"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// model is a file system as a flat map: what a stack of layers must come out as. A folder's value is "dir".
type model map[string]string

func (m model) drop(p string, self bool) {
	maps.DeleteFunc(m, func(k, _ string) bool { return self && k == p || p == "" || strings.HasPrefix(k, p+"/") })
}

// apply is the image specification, said plainly: deletions speak of the layers below,
// the last of equal names in a layer is the one that it has.
func (m model) apply(layer []tar.Header) {
	for _, h := range layer {
		dir, base := split(h.Name)
		if base == ".wh..wh..opq" {
			m.drop(dir, false)
		} else if name, ok := strings.CutPrefix(base, ".wh."); ok {
			m.drop(join(dir, name), true)
		}
	}
	own := model{}
	for _, h := range layer {
		_, base := split(h.Name)
		if strings.HasPrefix(base, ".wh.") {
			continue
		}
		own.put(h.Name, value(h))
	}
	for _, p := range slices.SortedFunc(maps.Keys(own), ComparePaths) {
		m.put(p, own[p])
	}
}

func (m model) put(p, v string) {
	if v != "dir" || m[p] != "dir" {
		m.drop(p, true)
	}
	m[p] = v
}

func value(h tar.Header) string {
	switch h.Typeflag {
	case tar.TypeDir:
		return "dir"
	case tar.TypeSymlink:
		return "-> " + h.Linkname
	}
	return fmt.Sprintf("file %o %d", h.Mode, h.Size)
}

// layers draws stacks in which every entry has its parent in the same layer, as packers write them, with whiteouts in any
// place.
func layerGen(t *rapid.T) []tar.Header {
	kinds := map[string]byte{"": tar.TypeDir}
	var list []tar.Header
	n := rapid.IntRange(1, 12).Draw(t, "entries")
	for range n {
		var dirs []string
		for p, k := range kinds {
			if k == tar.TypeDir && strings.Count(p, "/") < 2 {
				dirs = append(dirs, p)
			}
		}
		slices.Sort(dirs)
		dir := rapid.SampledFrom(dirs).Draw(t, "dir")
		p := join(dir, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name"))
		h := tar.Header{Name: p, Mode: int64(rapid.SampledFrom([]int{0o644, 0o4755}).Draw(t, "mode"))}
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0, 1:
			h.Typeflag = tar.TypeDir
		case 2:
			h.Typeflag, h.Size = tar.TypeReg, int64(rapid.IntRange(0, 9).Draw(t, "size"))
		case 3:
			h.Typeflag, h.Linkname = tar.TypeSymlink, "nowhere"
		case 4:
			h.Typeflag, h.Name = tar.TypeReg, join(dir, ".wh."+p[len(p)-1:])
		case 5:
			h.Typeflag, h.Name = tar.TypeReg, join(dir, ".wh..wh..opq")
		}
		if !strings.Contains(h.Name, ".wh.") {
			if kinds[p] == tar.TypeDir && h.Typeflag != tar.TypeDir {
				maps.DeleteFunc(kinds, func(k string, _ byte) bool { return strings.HasPrefix(k, p+"/") })
			}
			kinds[p] = h.Typeflag
		}
		list = append(list, h)
	}
	return list
}

func tarOf(layer []tar.Header) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range layer {
		if err := w.WriteHeader(&h); err != nil {
			panic(err)
		}
		w.Write(bytes.Repeat([]byte("x"), int(h.Size)))
	}
	w.Close()
	return b.Bytes()
}

// seen lists a folder as a model.
func seen(dir string) (model, error) {
	m := model{}
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		h := tar.Header{Typeflag: tar.TypeReg, Mode: int64(st.Mode & 0o7777), Size: st.Size}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			h.Typeflag = tar.TypeDir
		case unix.S_IFLNK:
			h.Typeflag = tar.TypeSymlink
			h.Linkname, _ = os.Readlink(p)
		}
		m[p[len(dir)+1:]] = value(h)
		return nil
	})
	return m, err
}

func viewed(v *View) model {
	m := model{}
	v.Walk(func(e Entry) error {
		m[e.Path] = value(tar.Header{Typeflag: e.Type, Mode: int64(e.Mode), Size: e.Size, Linkname: e.Linkname})
		return nil
	})
	return m
}

// TestLayerStacksEqualTheModel holds three readings of random stacks against the model: the merged view, trees under an
// overlay, and layers unpacked over each other.
func TestLayerStacksEqualTheModel(t *testing.T) {
	granted.NeedRoot(t, "mounts overlays")
	rapid.Check(t, stacksEqualTheModel(t.TempDir()))
}

// FuzzWhiteouts is TestLayerStacksEqualTheModel of stacks that a fuzzer draws.
func FuzzWhiteouts(f *testing.F) {
	granted.NeedRoot(f, "mounts overlays")
	f.Add(bytes.Repeat([]byte{1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233}, 100))
	equal := rapid.MakeFuzz(stacksEqualTheModel(f.TempDir()))
	f.Fuzz(equal)
}

func stacksEqualTheModel(top string) func(*rapid.T) {
	n := 0
	return func(t *rapid.T) {
		n++
		work := filepath.Join(top, fmt.Sprint(n))
		defer os.RemoveAll(work)
		want := model{}
		var chain []*Index
		flips := false
		merged := filepath.Join(work, "merged")
		lower := []string{filepath.Join(work, "bottom")}
		for _, d := range []string{merged, lower[0]} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for i := range rapid.IntRange(1, 4).Draw(t, "layers") {
			layer := layerGen(t)
			want.apply(layer)
			below, err := NewView(chain, nil)
			if err != nil {
				t.Fatal(err)
			}
			tree := filepath.Join(work, fmt.Sprint("l", i))
			os.Mkdir(tree, 0o755)
			data := tarOf(layer)
			x, err := ApplyPath(t.Context(), bytes.NewReader(data), tree, ApplyOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if !x.SelfContained {
				os.RemoveAll(tree)
				os.Mkdir(tree, 0o755)
				if x, err = ApplyPath(t.Context(), bytes.NewReader(data), tree, ApplyOptions{Below: below}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := ApplyPath(t.Context(), bytes.NewReader(data), merged, ApplyOptions{Whiteouts: Delete, Below: below}); err != nil {
				t.Fatal(err)
			}
			flips = flips || flipping(layer)
			chain = append(chain, x)
			lower = append([]string{tree}, lower...)
		}
		v, err := NewView(chain, nil)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, "view", viewed(v), want)
		got, err := seen(merged)
		if err != nil {
			t.Fatal(err)
		}
		if !flips {
			compare(t, "unpacked over each other", got, want)
		}
		compare(t, "overlay", overlaid(t, work, lower), want)
	}
}

// flipping says whether a layer has a name with two kinds, which the specification forbids: what the first kind took away
// in a folder is not brought back by the second, as it is where trees lie beside each other.
func flipping(layer []tar.Header) bool {
	kinds := map[string]byte{}
	for _, h := range layer {
		if k, ok := kinds[h.Name]; ok && k != h.Typeflag {
			return true
		}
		kinds[h.Name] = h.Typeflag
	}
	return false
}

func compare(t *rapid.T, what string, got, want model) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func overlaid(t *rapid.T, work string, lower []string) model {
	at := filepath.Join(work, "overlay")
	os.Mkdir(at, 0o755)
	if err := unix.Mount("overlay", at, "overlay", unix.MS_RDONLY, "lowerdir="+strings.Join(lower, ":")); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(at, unix.MNT_DETACH)
	m, err := seen(at)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestTopsPackToWhatTheyShow makes random changes through an overlay, packs its top, and finds the same files in the view
// of the chain with the new layer; unpacking the layer gives the same bytes again.
func TestTopsPackToWhatTheyShow(t *testing.T) {
	granted.NeedRoot(t, "mounts overlays")
	tmp := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		work := filepath.Join(tmp, fmt.Sprint(n))
		defer os.RemoveAll(work)
		low, up, wk, at := work+"/low", work+"/up", work+"/wk", work+"/at"
		for _, d := range []string{low, up, wk, at} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		nothing, err := NewView(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		base, err := ApplyPath(t.Context(), bytes.NewReader(tarOf(layerGen(t))), low, ApplyOptions{Below: nothing})
		if err != nil {
			t.Fatal(err)
		}
		below, err := NewView([]*Index{base}, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := changed(t, below, low, up, wk, at)
		var b bytes.Buffer
		x, err := PackUpper(t.Context(), up, below, &b, PackOptions{})
		if err != nil {
			t.Fatal(err)
		}
		v, err := NewView([]*Index{base, x}, nil)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, "view of the packed top", viewed(v), want)
		read, err := Apply(t.Context(), bytes.NewReader(b.Bytes()), nil, ApplyOptions{NoTree: true})
		if err != nil {
			t.Fatal(err)
		}
		v, err = NewView([]*Index{base, read}, nil)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, "view of the tar", viewed(v), want)
		if read.SelfContained != x.SelfContained {
			t.Fatalf("self-contained: the packer says %v, the reader %v", x.SelfContained, read.SelfContained)
		}
		var again bytes.Buffer
		if _, err := PackUpper(t.Context(), up, below, &again, PackOptions{}); err != nil || !bytes.Equal(b.Bytes(), again.Bytes()) {
			t.Fatalf("packing it again gives other bytes: %v", err)
		}
	})
}

// changed mounts the overlay, makes random changes and tells what it shows then.
func changed(t *rapid.T, below *View, low, up, wk, at string) model {
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,redirect_dir=off,metacopy=off,index=off", low, up, wk)
	if err := unix.Mount("overlay", at, "overlay", 0, opts); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(at, unix.MNT_DETACH)
	for range rapid.IntRange(0, 10).Draw(t, "changes") {
		now, err := seen(at)
		if err != nil {
			t.Fatal(err)
		}
		paths := append(slices.Sorted(maps.Keys(now)), "new")
		p := filepath.Join(at, rapid.SampledFrom(paths).Draw(t, "path"))
		switch rapid.IntRange(0, 6).Draw(t, "change") {
		case 0:
			os.RemoveAll(p)
		case 1:
			os.RemoveAll(p)
			os.Mkdir(p, 0o755)
			os.Chmod(p, 0o755)
		case 2:
			os.WriteFile(filepath.Join(p, "a"), []byte("new"), 0o644)
		case 3:
			os.Remove(p)
			os.Symlink("elsewhere", p)
		case 4:
			os.Chmod(p, 0o644)
			os.Chmod(p, 0o755)
		case 5:
			os.Link(p, filepath.Join(at, "linked"))
		case 6:
			if f, err := os.OpenFile(p, os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0); err == nil {
				io.WriteString(f, "more")
				f.Close()
			}
		}
	}
	m, err := seen(at)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
