//go:build linux

package snapshot

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/hodbuild/hod/layers/userns"
)

// MaxLowers is how many trees the kernel stacks.
const MaxLowers = 500

// Options says what an overlay is made of.
type Options struct {
	// Lower are the trees, the uppermost first; at least one, and two without Upper.
	Lower []string
	// Upper and Work make the overlay writable. They are empty folders in one folder that holds nothing else of worth.
	Upper, Work string
	// UIDs and GIDs show the trees through a map; none shows them as they are on disk.
	UIDs, GIDs []userns.Range
	// Volatile gives up all syncing: what is lost with the machine is made again.
	Volatile bool
}

func (o Options) ids() *userns.Map {
	if len(o.UIDs) == 0 {
		return nil
	}
	return &userns.Map{UIDs: o.UIDs, GIDs: o.GIDs}
}

// plain are the options that hod needs whatever the kernel's defaults are: a top must hold whole files and folders, or it
// could not become a layer.
var plain = []string{"redirect_dir=off", "metacopy=off", "index=off"}

// Overlay makes the mount and leaves it detached. Without root it cannot, and describes it instead, to be made inside a
// user namespace. The caller closes it.
func Overlay(o Options) (rootfs.Mount, error) {
	if len(o.Lower) == 0 {
		return rootfs.Mount{}, errors.New("mount overlay: no layers")
	}
	if len(o.Lower) > MaxLowers {
		return rootfs.Mount{}, fmt.Errorf("mount overlay: %d layers, the kernel stacks at most %d", len(o.Lower), MaxLowers)
	}
	m := rootfs.Mount{Type: "overlay", Source: "overlay", Lower: o.Lower, Upper: o.Upper, Work: o.Work}
	if len(o.Lower) == 1 && o.Upper == "" {
		return rootfs.Mount{}, errors.New("mount overlay: the kernel stacks no fewer than two folders")
	}
	m.Options = append(m.Options, plain...)
	if userns.Here() != userns.Root {
		m.Options[0] = "redirect_dir=nofollow" // beside userxattr the kernel takes no other
	}
	if o.Upper != "" && o.Volatile {
		m.Options = append(m.Options, "volatile")
	}
	if userns.Here() != userns.Root {
		m.Options = append(m.Options, "userxattr")
		return m, nil
	}
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread()
		f, err := mount(m, o)
		if rootfs.DetachedServes() && (len(o.UIDs) == 0 || giveIDsBack() == nil) {
			runtime.UnlockOSThread() // else the thread ends with the goroutine, and with it the ids that it took
		}
		done <- result{f, err}
	}()
	r := <-done
	if r.err != nil {
		return rootfs.Mount{}, fmt.Errorf("mount overlay of %d layers: %w", len(o.Lower), r.err)
	}
	m.Detached = r.f
	return m, nil
}

// mount makes the overlay with one call per folder, so that no character in a path means anything.
func mount(m rootfs.Mount, o Options) (*os.File, error) {
	folders, err := openFolders(m, o)
	defer func() {
		for _, f := range folders.all() {
			f.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	if ids := o.ids(); ids != nil {
		if err := userns.TakeIDs(*ids); err != nil {
			return nil, err
		}
	}
	return rootfs.Overlay{Lower: folders.lower, Upper: folders.upper, Work: folders.work, Options: m.Options}.Mount()
}

type folders struct {
	lower       []*os.File
	upper, work *os.File
	clone       *os.File // the mount that upper and work are in
}

func (f folders) all() []*os.File {
	var list []*os.File
	for _, x := range append(f.lower, f.upper, f.work, f.clone) {
		if x != nil {
			list = append(list, x)
		}
	}
	return list
}
