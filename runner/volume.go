//go:build linux

package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// ErrNoVolume is wrapped by every error about a volume that is not there.
var ErrNoVolume = errors.New("no such volume")

// Volumes are folders that outlive containers. Each lies in a folder of its
// name: volume.json beside _data, which is what containers see.
type Volumes struct{ dir string }

// Volume is one volume's record, in docker's words.
type Volume struct {
	CreatedAt  time.Time
	Driver     string
	Labels     map[string]string
	Mountpoint string
	Name       string
	Options    map[string]string
	Scope      string
	// Anonymous volumes were made for one container and got a number for a name.
	Anonymous bool `json:"-"`
}

type volumeRecord struct {
	CreatedAt time.Time
	VolumeOptions
	Anonymous bool `json:",omitempty"`
	// Filled says that the first container's image was copied in, or that this
	// was not wanted; it happens at most once.
	Filled bool `json:",omitempty"`
}

// Create makes a volume and returns it; one that exists already is returned as
// it is. An empty name makes an anonymous volume.
func (vs *Volumes) Create(name string, o VolumeOptions) (*Volume, error) {
	if name == "" {
		return vs.create(NewID(), o, true)
	}
	return vs.create(name, o, false)
}

func (vs *Volumes) create(name string, o VolumeOptions, anonymous bool) (*Volume, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("create volume %s: %w", name, err)
	}
	if err := CheckName(name); err != nil {
		return nil, fmt.Errorf("create volume: %w", err)
	}
	dir := filepath.Join(vs.dir, name)
	if _, err := os.Lstat(filepath.Join(dir, "volume.json")); err == nil {
		return vs.Inspect(name)
	}
	tmp, err := os.MkdirTemp(vs.dir, newPrefix)
	if err != nil {
		return nil, fmt.Errorf("create volume %s: %w", name, err)
	}
	defer os.RemoveAll(tmp)
	data := filepath.Join(tmp, "_data")
	if err = os.Mkdir(data, 0o755); err == nil {
		err = os.Chmod(data, 0o755) // whatever the umask
	}
	if err != nil {
		return nil, fmt.Errorf("create volume %s: %w", name, err)
	}
	record := volumeRecord{CreatedAt: time.Now().UTC(), VolumeOptions: o, Anonymous: anonymous}
	if err := writeJSON(filepath.Join(tmp, "volume.json"), record); err != nil {
		return nil, err
	}
	// Renaming onto a volume that another process made first fails, and theirs counts.
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("create volume %s: %w", name, err)
	}
	return vs.Inspect(name)
}

// Inspect returns one volume.
func (vs *Volumes) Inspect(name string) (*Volume, error) {
	if CheckName(name) != nil {
		return nil, fmt.Errorf("%w: %s", ErrNoVolume, name)
	}
	var r volumeRecord
	err := readJSON(filepath.Join(vs.dir, name, "volume.json"), &r)
	if missing(err) {
		return nil, fmt.Errorf("%w: %s", ErrNoVolume, name)
	}
	if err != nil {
		return nil, err
	}
	return &Volume{
		CreatedAt: r.CreatedAt, Driver: "local", Labels: r.Labels, Options: r.Options, Name: name, Scope: "local",
		Mountpoint: filepath.Join(vs.dir, name, "_data"), Anonymous: r.Anonymous,
	}, nil
}

// List returns all volumes by name.
func (vs *Volumes) List() ([]*Volume, error) {
	entries, err := os.ReadDir(vs.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	var list []*Volume
	for _, e := range entries {
		if !e.IsDir() { // not ours
			continue
		}
		v, err := vs.Inspect(e.Name())
		if errors.Is(err, ErrNoVolume) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list, nil
}

// remove deletes a volume that no container uses.
func (vs *Volumes) remove(name string) error {
	v, err := vs.Inspect(name)
	if err != nil {
		return err
	}
	if err := vs.release(name); err != nil {
		return err
	}
	if isMountPoint(v.Mountpoint) {
		return fmt.Errorf("remove volume %s: its file system is in use at %s", name, v.Mountpoint)
	}
	trash := filepath.Join(vs.dir, trashPrefix+NewID())
	now := time.Now()
	_ = os.Chtimes(filepath.Join(vs.dir, name), now, now) // sweep looks when this was
	if err := os.Rename(filepath.Join(vs.dir, name), trash); err != nil {
		return fmt.Errorf("remove volume %s: %w", name, err)
	}
	if err := removeTree(trash); err != nil {
		return fmt.Errorf("remove volume %s: %w", name, err)
	}
	return nil
}

// sweep takes away what a creation or a removal left that was killed. The minute
// leaves those alone that are on their way.
func (vs *Volumes) sweep() {
	entries, _ := os.ReadDir(vs.dir)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), trashPrefix) && !strings.HasPrefix(e.Name(), newPrefix) {
			continue
		}
		if st, err := e.Info(); err == nil && time.Since(st.ModTime()) > time.Minute {
			_ = removeTree(filepath.Join(vs.dir, e.Name())) // the next one tries again
		}
	}
}

// newPrefix begins the name of a volume that is being made.
const newPrefix = ".new-"

// wantsFiles says whether the volume was not offered an image's files yet; one
// that is mounted may be empty again.
func (vs *Volumes) wantsFiles(v *Volume) (bool, error) {
	var r volumeRecord
	err := readJSON(filepath.Join(vs.dir, v.Name, "volume.json"), &r)
	return err == nil && (!r.Filled || len(v.Options) > 0), err
}

func (vs *Volumes) setFilled(name string) error {
	path := filepath.Join(vs.dir, name, "volume.json")
	var r volumeRecord
	if err := readJSON(path, &r); err != nil {
		return err
	}
	r.Filled = true
	return writeJSON(path, r)
}
