package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/hodbuild/hod/runner/seccomp"
)

// User is who a process runs as, as the image's own files say.
type User struct {
	UID, GID uint32
	// Groups are the primary group and every other that the user is in.
	Groups []uint32
	Home   string
}

// LookupUser reads "user", "uid", "user:group" and their numeric forms against
// the passwd and group files that read gives. A name that is not there is an
// error; a number needs no entry. extra are further groups by name or number.
func LookupUser(read func(path string) ([]byte, error), want string, extra []string) (User, error) {
	passwd, err := accounts(read, "/etc/passwd")
	if err != nil {
		return User{}, err
	}
	group, err := accounts(read, "/etc/group")
	if err != nil {
		return User{}, err
	}
	name, groupName, withGroup := strings.Cut(want, ":")
	if name == "" {
		name = "0"
	}
	u := User{Home: "/"}
	entry := findAccount(passwd, name)
	switch uid, err := parseID(name); {
	case entry != nil:
		var bad error
		if u.UID, bad = parseID(entry[2]); bad == nil {
			u.GID, bad = parseID(entry[3])
		}
		if bad != nil {
			return User{}, fmt.Errorf("user %q in /etc/passwd: %w", name, bad)
		}
		u.Home = entry[5]
	case err == nil:
		u.UID = uid
	default:
		return User{}, fmt.Errorf("unable to find user %s: no matching entries in passwd file", name)
	}
	if withGroup && groupName != "" {
		if u.GID, err = groupID(group, groupName); err != nil {
			return User{}, err
		}
	}
	u.Groups = []uint32{u.GID}
	if entry != nil && !withGroup {
		for _, g := range group {
			if slices.Contains(strings.Split(g[3], ","), entry[0]) {
				if id, err := parseID(g[2]); err == nil && !slices.Contains(u.Groups, id) {
					u.Groups = append(u.Groups, id)
				}
			}
		}
	}
	for _, g := range extra {
		id, err := groupID(group, g)
		if err != nil {
			return User{}, err
		}
		if !slices.Contains(u.Groups, id) {
			u.Groups = append(u.Groups, id)
		}
	}
	return u, nil
}

// accounts reads the lines of passwd or group, each padded to seven fields.
func accounts(read func(string) ([]byte, error), path string) ([][]string, error) {
	text, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s of the image: %w", path, err)
	}
	var out [][]string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Split(line, ":")
		if len(fields) >= 3 {
			out = append(out, append(fields, make([]string, max(0, 7-len(fields)))...))
		}
	}
	return out, nil
}

// findAccount finds a name, or else a number, as the field's runtimes do.
func findAccount(list [][]string, name string) []string {
	for _, e := range list {
		if e[0] == name {
			return e
		}
	}
	if _, err := parseID(name); err != nil {
		return nil
	}
	for _, e := range list {
		if e[2] == name {
			return e
		}
	}
	return nil
}

func groupID(list [][]string, name string) (uint32, error) {
	if e := findAccount(list, name); e != nil {
		return parseID(e[2])
	}
	id, err := parseID(name)
	if err != nil {
		return 0, fmt.Errorf("unable to find group %s: no matching entries in group file", name)
	}
	return id, nil
}

// parseID reads a decimal id; the highest one means 'no id' to the kernel.
func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > math.MaxInt32 {
		return 0, fmt.Errorf("id %q is not a number between 0 and %d", s, math.MaxInt32)
	}
	return uint32(n), nil
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
