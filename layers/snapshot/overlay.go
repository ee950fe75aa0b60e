package snapshot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/hodbuild/hod/layers/rootfs"
	"golang.org/x/sys/unix"
)

// Options say what an overlay is made of.
type Options struct {
	// Lower are the trees, the uppermost first; at least one.
	Lower []string
	// Upper and Work are folders in one file system; empty: read-only. Both lie
	// in one folder that holds nothing else of worth.
	Upper, Work string
	// UIDs and GIDs map the ids on disk; none: they stay as they are.
	UIDs, GIDs []IDRange
	// Volatile leaves out all syncing: for tops that are thrown away after a crash.
	Volatile bool
}

// plain are the options that hod needs whatever the kernel's defaults are: a top
// must hold whole files and folders, or it could not become a layer.
var plain = []string{"redirect_dir=off", "metacopy=off", "index=off"}

// Overlay makes the mount. Without root it cannot, and describes it instead, to
// be made inside a user namespace. The caller closes it.
func Overlay(o Options) (rootfs.Mount, error) {
	m := rootfs.Mount{Type: "overlay", Lower: o.Lower, Upper: o.Upper, Work: o.Work, Options: append([]string{}, plain...)}
	if len(o.Lower) == 0 {
		return m, errors.New("make overlay: no layers")
	}
	if o.Volatile && o.Upper != "" {
		m.Options = append(m.Options, "volatile")
	}
	if os.Geteuid() != 0 {
		m.Options = append(m.Options, "userxattr")
		return m, nil
	}
	p, as, err := o.open()
	if err != nil {
		return m, fmt.Errorf("make overlay: %w", err)
	}
	defer p.close()
	if m.Detached, err = perform(p, as, m.Options); err != nil {
		return m, fmt.Errorf("make overlay: %w", err)
	}
	return m, nil
}

// mountPaths are the folders as the overlay is given them.
type mountPaths struct {
	lower       []string
	upper, work string
	files       []*os.File
}

func (p *mountPaths) close() {
	for _, f := range p.files {
		f.Close()
	}
}

// open takes the folders, mapped where ids are asked for.
func (o *Options) open() (*mountPaths, *IDRange, error) {
	p := &mountPaths{lower: o.Lower, upper: o.Upper, work: o.Work}
	if len(o.UIDs) == 0 {
		return p, nil, nil
	}
	ns, err := Namespace(o.UIDs, o.GIDs)
	if err != nil {
		return nil, nil, err
	}
	defer ns.Close()
	mapped := func(dir string) (string, error) {
		f, err := mapTree(dir, ns)
		if err != nil {
			return "", err
		}
		p.files = append(p.files, f)
		return fmt.Sprintf("/proc/self/fd/%d", f.Fd()), nil
	}
	p.lower = nil
	for _, dir := range o.Lower {
		path, err := mapped(dir)
		if err != nil {
			p.close()
			return nil, nil, err
		}
		p.lower = append(p.lower, path)
	}
	if o.Upper == "" {
		return p, &o.UIDs[0], nil
	}
	// Upper and work must be seen through one mount.
	top := filepath.Dir(o.Upper)
	path, err := mapped(top)
	if err != nil {
		p.close()
		return nil, nil, err
	}
	p.upper = path + "/" + filepath.Base(o.Upper)
	p.work = path + "/" + filepath.Base(o.Work)
	return p, &o.UIDs[0], nil
}

// perform makes the overlay on a thread of its own. Where ids are mapped, the
// overlay keeps the maker's ids for what it does in its work folder, so the
// thread is the namespace's root on disk, with all capabilities kept.
func perform(p *mountPaths, as *IDRange, options []string) (*os.File, error) {
	type answer struct {
		f   *os.File
		err error
	}
	result := make(chan answer, 1)
	go func() {
		runtime.LockOSThread()
		if as == nil {
			defer runtime.UnlockOSThread()
		} else if err := become(as.Outside); err != nil {
			result <- answer{nil, err}
			return // the thread ends with its strange identity
		}
		f, err := mountOverlay(p, options)
		result <- answer{f, err}
	}()
	a := <-result
	return a.f, a.err
}

// become sets the identity that file systems see, and takes back the
// capabilities that the kernel drops with it.
func become(id uint32) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	unix.SetfsuidRetUid(int(id))
	unix.SetfsgidRetGid(int(id))
	if err := unix.Capset(&header, &caps[0]); err != nil {
		return fmt.Errorf("keep capabilities: %w", err)
	}
	return nil
}

func mountOverlay(p *mountPaths, options []string) (*os.File, error) {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open overlay: %w", err)
	}
	defer unix.Close(fs)
	if err := setLowers(fs, p.lower); err != nil {
		return nil, err
	}
	settings := append([]string{}, options...)
	if p.upper != "" {
		settings = append(settings, "upperdir="+p.upper, "workdir="+p.work)
	}
	for _, o := range settings {
		key, value, valued := strings.Cut(o, "=")
		if valued {
			err = unix.FsconfigSetString(fs, key, value)
		} else {
			err = unix.FsconfigSetFlag(fs, key)
		}
		if err != nil {
			return nil, fmt.Errorf("set %s: %w", o, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, fmt.Errorf("create: %w", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "overlay"), nil
}

// setLowers names the layers one by one (Linux 6.7), else in one string, where
// colons and backslashes are escaped.
func setLowers(fs int, lower []string) error {
	for i, dir := range lower {
		err := unix.FsconfigSetString(fs, "lowerdir+", dir)
		if err != nil && i == 0 {
			var all []string
			for _, dir := range lower {
				all = append(all, strings.NewReplacer(`\`, `\\`, ":", `\:`).Replace(dir))
			}
			if err := unix.FsconfigSetString(fs, "lowerdir", strings.Join(all, ":")); err != nil {
				return fmt.Errorf("set layers: %w", err)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("set layer %q: %w", dir, err)
		}
	}
	return nil
}
