//go:build linux

package runner

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/hodbuild/hod/layers/userns"
	"github.com/hodbuild/hod/runner/seccomp"
)

// User is who a process runs as, as the image's own files say.
type User struct {
	UID, GID uint32
	// Groups are the primary group and every other that the user is in.
	Groups []uint32
	Home   string
}

// LookupUser finds a user as rootfs.LookupUserIn does, in the image's files that
// read gives. extra are further groups by name or number.
func LookupUser(read func(path string) ([]byte, error), want string, extra []string) (User, error) {
	u, err := findUser(read, want, extra)
	if err == nil && !userns.Has(int(u.UID), int(u.GID)) {
		err = fmt.Errorf("become user %d, group %d of the image: %w", u.UID, u.GID, userns.Missing())
	}
	return u, err
}

// findUser is LookupUser for a sandbox whose ids may be others than this process's.
func findUser(read func(path string) ([]byte, error), want string, extra []string) (User, error) {
	found, err := rootfs.LookupUserIn(read, want)
	if err != nil {
		return User{}, err
	}
	u := User{UID: found.UID, GID: found.GID, Home: found.Home, Groups: []uint32{found.GID}}
	for _, g := range found.Groups {
		if !slices.Contains(u.Groups, g) {
			u.Groups = append(u.Groups, g)
		}
	}
	for _, name := range extra {
		g, err := rootfs.LookupUserIn(read, "0:"+name)
		if err != nil {
			return User{}, fmt.Errorf("add group: %w", err)
		}
		if !slices.Contains(u.Groups, g.GID) {
			u.Groups = append(u.Groups, g.GID)
		}
	}
	return u, nil
}

// existsIn refuses a user whom the user namespace of a process does not have.
func (u User) existsIn(pid int) error {
	ids := userns.Map{UIDs: userns.ReadMap(fmt.Sprintf("/proc/%d/uid_map", pid)), GIDs: userns.ReadMap(fmt.Sprintf("/proc/%d/gid_map", pid))}
	if _, _, ok := ids.Outside(u.UID, u.GID); !ok {
		return fmt.Errorf("become user %d, group %d: the container's user namespace has no such ids", u.UID, u.GID)
	}
	return nil
}

// SetUser writes who the process runs as into the specification. Only root
// starts with capabilities; another user's programs can gain none beyond the
// bounding set.
func SetUser(s *specs.Spec, u User) {
	p := s.Process
	p.User = specs.User{UID: u.UID, GID: u.GID, AdditionalGids: u.Groups, Umask: p.User.Umask}
	if u.UID != 0 && p.Capabilities != nil {
		p.Capabilities.Effective, p.Capabilities.Permitted = nil, nil
	}
	if !slices.ContainsFunc(p.Env, func(e string) bool { return strings.HasPrefix(e, "HOME=") }) {
		home := u.Home
		if home == "" {
			home = "/"
		}
		p.Env = append(p.Env, "HOME="+home)
	}
}

// Filter compiles the specification's profile of system calls for the sandbox.
func Filter(s *specs.Spec) ([]byte, error) {
	if s.Linux == nil {
		return nil, nil
	}
	return seccomp.Compile(s.Linux.Seccomp)
}
