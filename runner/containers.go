//go:build linux

package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoContainer is wrapped by every error about a container that is not there.
var ErrNoContainer = errors.New("no such container")

// Containers is the set of containers of one store: records in one folder,
// volumes in another. Any number of processes may use it at once. What it
// answers is true at that moment: a container whose monitor died is seen as
// exited, and what it left behind is taken away.
type Containers struct {
	dir     string // of containers
	volumes *Volumes
	// readOnly is why nothing can be added, nil where it can.
	readOnly error
}

// OpenContainers uses the two folders, which it makes when they are missing; in a
// store that is read-only, what is missing is empty.
func OpenContainers(dir, volumes string) (*Containers, error) {
	cs := &Containers{dir: dir, volumes: &Volumes{dir: volumes}}
	for _, d := range []string{dir, filepath.Join(dir, namesDir), volumes} {
		err := os.MkdirAll(d, 0o700)
		if errors.Is(err, unix.EROFS) {
			cs.readOnly = fmt.Errorf("open containers: %w", err)
			break
		}
		if err != nil {
			return nil, fmt.Errorf("open containers: %w", err)
		}
	}
	return cs, nil
}

// Volumes are the named volumes of the same store.
func (cs *Containers) Volumes() *Volumes { return cs.volumes }

// namesDir holds one symbolic link per name, pointing to an identity. A link is
// made by one system call that fails when the name is taken: no lock is needed.
// Its own name is not a valid identity, so it never looks like a container.
const namesDir = "names"

// Add gives a new container its identity, name and folder, and stores the
// record with the state "created". An empty name is made up.
func (cs *Containers) Add(c *Container) error {
	if cs.readOnly != nil {
		return cs.readOnly
	}
	c.ID = NewID()
	c.Created = time.Now().UTC()
	c.Dir = filepath.Join(cs.dir, c.ID)
	if err := cs.claimName(c); err != nil {
		return err
	}
	if err := cs.publish(c); err != nil {
		_ = removeTree(c.Dir)
		cs.dropName(c)
		return fmt.Errorf("create container %s: %w", c.Name, err)
	}
	return nil
}

func (cs *Containers) publish(c *Container) error {
	if err := os.Mkdir(c.Dir, 0o700); err != nil {
		return err
	}
	lock, err := os.OpenFile(c.file("monitor"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	lock.Close()
	// What collection must keep for this container.
	if err := writeNew(c.file("roots.json"), c.images()); err != nil {
		return err
	}
	if err := writeNew(c.file("state.json"), &State{Status: StatusCreated}); err != nil {
		return err
	}
	return c.save()
}

// images are the images that the container needs: its own, and those it mounts.
func (c *Container) images() []string {
	ids := []string{c.ImageID}
	for _, m := range c.Options.Mounts {
		if m.ImageID != "" {
			ids = append(ids, m.ImageID)
		}
	}
	return ids
}

// Uses says whether the container is of an image, or mounts it.
func (c *Container) Uses(imageID string) bool { return slices.Contains(c.images(), imageID) }

// writeNew writes a file that nobody looks at before the record is there.
func writeNew(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

func (cs *Containers) claimName(c *Container) error {
	if c.Name != "" {
		if err := CheckName(c.Name); err != nil {
			return err
		}
		return cs.linkName(c.Name, c.ID)
	}
	for try := 0; try < 100; try++ {
		c.Name = RandomName(try)
		err := cs.linkName(c.Name, c.ID)
		if err == nil || !errors.Is(err, errNameTaken) {
			return err
		}
	}
	return fmt.Errorf("create container: no free name found")
}

var errNameTaken = errors.New("name is taken")

func (cs *Containers) linkName(name, id string) error {
	path := filepath.Join(cs.dir, namesDir, name)
	for range 3 {
		err := os.Symlink(id, path)
		if err == nil {
			return nil
		}
		if !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("claim name %q: %w", name, err)
		}
		holder, err := os.Readlink(path)
		if err != nil {
			continue
		}
		if cs.holds(holder, path) {
			return fmt.Errorf("%w: the container name %q is in use by container %s; remove or rename that container first", errNameTaken, name, holder)
		}
		os.Remove(path)
	}
	return fmt.Errorf("claim name %q: it changes hands too fast", name)
}

// holds reports whether a name's link still counts: its container is there, or
// the link is so young that the container may be on its way.
func (cs *Containers) holds(id, link string) bool {
	if _, err := os.Lstat(filepath.Join(cs.dir, id)); err == nil {
		return true
	}
	st, err := os.Lstat(link)
	return err == nil && time.Since(st.ModTime()) < 10*time.Second
}

func (cs *Containers) dropName(c *Container) {
	path := filepath.Join(cs.dir, namesDir, c.Name)
	if holder, err := os.Readlink(path); err == nil && holder == c.ID {
		os.Remove(path)
	}
}

// Rename gives a container another name.
func (cs *Containers) Rename(ctx context.Context, ref, name string) error {
	c, _, err := cs.Lookup(ctx, ref)
	if err != nil {
		return err
	}
	if err := CheckName(name); err != nil {
		return err
	}
	if name == c.Name {
		return fmt.Errorf("rename container %s: it has this name already", name)
	}
	if err := cs.linkName(name, c.ID); err != nil {
		return err
	}
	old := *c
	c.Name = name
	if err := c.save(); err != nil {
		cs.dropName(c)
		return fmt.Errorf("rename container %s: %w", old.Name, err)
	}
	cs.dropName(&old)
	cs.tell(c, "rename", "oldName", "/"+old.Name)
	return nil
}

// Lookup finds a container by identity, by name or by the unambiguous beginning
// of an identity, in this order, and says what is true of it now.
func (cs *Containers) Lookup(ctx context.Context, ref string) (*Container, *State, error) {
	id, err := cs.resolve(ref)
	if err != nil {
		return nil, nil, err
	}
	c, err := loadContainer(filepath.Join(cs.dir, id))
	if missing(err) {
		return nil, nil, fmt.Errorf("%w: %s", ErrNoContainer, ref)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read container %s: %w", ref, err)
	}
	s, err := cs.truth(ctx, c)
	if missing(err) {
		return nil, nil, fmt.Errorf("%w: %s", ErrNoContainer, ref)
	}
	return c, s, err
}

func (cs *Containers) resolve(ref string) (string, error) {
	if ValidID(ref) {
		if _, err := os.Lstat(filepath.Join(cs.dir, ref)); err == nil {
			return ref, nil
		}
	}
	if CheckName(ref) == nil {
		if id, err := os.Readlink(filepath.Join(cs.dir, namesDir, ref)); err == nil && ValidID(id) {
			return id, nil
		}
	}
	if !isHex(ref) {
		return "", fmt.Errorf("%w: %s", ErrNoContainer, ref)
	}
	return cs.resolvePrefix(ref)
}

func (cs *Containers) resolvePrefix(ref string) (string, error) {
	ids, err := cs.ids()
	if err != nil {
		return "", err
	}
	found := ""
	for _, id := range ids {
		if !strings.HasPrefix(id, ref) {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("container %s is ambiguous: give more digits", ref)
		}
		found = id
	}
	if found == "" {
		return "", fmt.Errorf("%w: %s", ErrNoContainer, ref)
	}
	return found, nil
}

func (cs *Containers) ids() ([]string, error) {
	entries, err := os.ReadDir(cs.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if ValidID(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// Entry is a container with its state.
type Entry struct {
	*Container
	State *State
}

// List returns all containers, the newest first. One that vanishes meanwhile,
// or whose creation was cut short, is left out.
func (cs *Containers) List(ctx context.Context) ([]Entry, error) {
	ids, err := cs.ids()
	if err != nil {
		return nil, err
	}
	cs.sweepRemains()
	var list []Entry
	for _, id := range ids {
		c, err := loadContainer(filepath.Join(cs.dir, id))
		if missing(err) {
			cs.sweep(id)
			continue
		}
		if err != nil {
			return nil, err
		}
		s, err := cs.truth(ctx, c)
		if missing(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, Entry{c, s})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Created.After(list[j].Created) })
	return list, nil
}

// Exists reports whether this identity or name is a container's.
func (cs *Containers) Exists(ref string) bool {
	_, err := cs.resolve(ref)
	return err == nil
}
