package ops

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/hodbuild/hod/builder/source"
)

// owner is who a file will belong to.
type owner struct{ uid, gid int }

const maxAccounts = 10 << 20

// parseOwner understands --chown: a user, or user:group, each a name of the tree's /etc/passwd and /etc/group or a
// number. A user alone gives its own group by name, and the same number by number. Empty means no change (nil).
func parseOwner(spec string, root source.Files) (*owner, error) {
	if spec == "" {
		return nil, nil
	}
	user, group, hasGroup := strings.Cut(spec, ":")
	own := &owner{}
	var err error
	if own.uid, own.gid, err = userIDs(user, root); err != nil {
		return nil, fmt.Errorf("look up owner %q: %w", spec, err)
	}
	if hasGroup && group != "" {
		if own.gid, err = groupID(group, root); err != nil {
			return nil, fmt.Errorf("look up owner %q: %w", spec, err)
		}
	}
	return own, nil
}

// OwnerByName says whether a --chown needs the accounts of the tree below; --link has none.
func OwnerByName(spec string) bool {
	for part := range strings.SplitSeq(spec, ":") {
		if _, numeric, _ := parseID(part); part != "" && !numeric {
			return true
		}
	}
	return false
}

func userIDs(name string, root source.Files) (uid, gid int, err error) {
	if name == "" {
		return 0, 0, nil
	}
	id, numeric, err := parseID(name)
	if numeric || err != nil {
		return id, id, err
	}
	fields, err := account(root, "etc/passwd", name)
	if err != nil {
		return 0, 0, err
	}
	if len(fields) < 4 {
		return 0, 0, fmt.Errorf("user %q has no group in /etc/passwd", name)
	}
	uid, _, err = parseID(fields[2])
	if err != nil {
		return 0, 0, err
	}
	gid, _, err = parseID(fields[3])
	return uid, gid, err
}

func groupID(name string, root source.Files) (int, error) {
	id, numeric, err := parseID(name)
	if numeric || err != nil {
		return id, err
	}
	fields, err := account(root, "etc/group", name)
	if err != nil {
		return 0, err
	}
	id, _, err = parseID(fields[2])
	return id, err
}

// parseID reads a number; digits that are no valid id are an error, never a name.
func parseID(s string) (id int, numeric bool, err error) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n >= 1<<32-1 {
		return 0, true, fmt.Errorf("id %q is out of range", s)
	}
	return int(n), true, nil
}

// account finds the line of name in a file of accounts.
func account(root source.Files, file, name string) ([]string, error) {
	data, err := source.ReadFile(root, file, maxAccounts)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no %q: /%s does not exist", name, file)
	}
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxAccounts)
	for lines.Scan() {
		fields := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if fields[0] == name && len(fields) >= 3 {
			if _, numeric, err := parseID(fields[2]); !numeric || err != nil {
				return nil, fmt.Errorf("%q has a bad id in /%s", name, file)
			}
			return fields, nil
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read /%s: %w", file, err)
	}
	return nil, fmt.Errorf("no %q in /%s", name, file)
}
