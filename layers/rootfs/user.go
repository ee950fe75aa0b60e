package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
)

// maxUserFile bounds /etc/passwd and /etc/group.
const maxUserFile = 10 << 20

// User is who a process is.
type User struct {
	UID, GID uint32
	Groups   []uint32 // supplementary
	Home     string
	Name     string
}

// LookupUserIn finds the user of a USER line in the root's own files, which read gives: name, uid, and behind a colon
// group or gid. Nothing behind the colon is as no colon.
func LookupUserIn(read func(path string) ([]byte, error), spec string) (User, error) {
	u, err := lookupUser(read, spec)
	if err != nil {
		return User{}, fmt.Errorf("look up user %q: %w", spec, err)
	}
	return u, nil
}

func lookupUser(read func(string) ([]byte, error), spec string) (User, error) {
	name, group, colon := strings.Cut(spec, ":")
	if colon && name == "" || strings.Contains(group, ":") {
		return User{}, errors.New("not of the form user or user:group")
	}
	if name == "" {
		name = "0"
	}
	passwd, err := readTable(read, "/etc/passwd", 7)
	if err != nil {
		return User{}, err
	}
	groups, err := readTable(read, "/etc/group", 4)
	if err != nil {
		return User{}, err
	}
	u, err := findUser(passwd, name)
	if err != nil {
		return User{}, err
	}
	if group != "" {
		u.GID, err = findGroup(groups, group)
		return u, err
	}
	for _, g := range groups {
		id, err := parseID(g[2])
		if err != nil || id == u.GID || u.Name == "" {
			continue
		}
		for m := range strings.SplitSeq(g[3], ",") {
			if m == u.Name {
				u.Groups = append(u.Groups, id)
				break
			}
		}
	}
	return u, nil
}

// findUser takes a number as a number, whatever names the table has, and a name as a name.
func findUser(passwd [][]string, name string) (User, error) {
	id, numErr := parseID(name)
	if numErr != nil && looksNumeric(name) {
		return User{}, numErr
	}
	for _, p := range passwd {
		uid, err := parseID(p[2])
		if err != nil {
			continue
		}
		if numErr == nil && uid != id || numErr != nil && p[0] != name {
			continue
		}
		gid, err := parseID(p[3])
		if err != nil {
			return User{}, fmt.Errorf("its line in /etc/passwd: %w", err)
		}
		return User{UID: uid, GID: gid, Home: p[5], Name: p[0]}, nil
	}
	if numErr == nil {
		return User{UID: id, Home: "/"}, nil
	}
	return User{}, errors.New("no such user in /etc/passwd")
}

func findGroup(groups [][]string, name string) (uint32, error) {
	id, numErr := parseID(name)
	if numErr == nil {
		return id, nil
	}
	if looksNumeric(name) {
		return 0, numErr
	}
	for _, g := range groups {
		if g[0] == name {
			return parseID(g[2])
		}
	}
	return 0, fmt.Errorf("no such group %q in /etc/group", name)
}

// parseID reads an id exactly: digits, at most 2^31-1 as every tool understands it.
func parseID(s string) (uint32, error) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, fmt.Errorf("%q is not an id", s)
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > math.MaxInt32 {
		return 0, fmt.Errorf("id %q is out of range 0 to %d", s, math.MaxInt32)
	}
	return uint32(n), nil
}

// looksNumeric says that somebody meant a number: it is never looked up as a name.
func looksNumeric(s string) bool {
	t := strings.TrimLeft(s, "+-")
	if t == "" {
		return true
	}
	if strings.HasPrefix(t, "0x") || strings.HasPrefix(t, "0X") {
		return true
	}
	for i := range len(t) {
		if t[i] < '0' || t[i] > '9' {
			return false
		}
	}
	return true
}

// readTable reads a file of lines with colons; a missing file is an empty one.
func readTable(read func(string) ([]byte, error), path string, fields int) ([][]string, error) {
	data, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(data) > maxUserFile {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, maxUserFile)
	}
	var rows [][]string
	for line := range strings.SplitSeq(string(data), "\n") {
		row := strings.Split(strings.TrimRight(line, "\r"), ":")
		if len(row) < fields-1 || strings.HasPrefix(line, "#") {
			continue
		}
		for len(row) < fields {
			row = append(row, "")
		}
		rows = append(rows, row)
	}
	return rows, nil
}
