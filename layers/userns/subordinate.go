package userns

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
)

// ErrNoSubordinate says that a user has no subordinate ids, or nobody may map them.
var ErrNoSubordinate = errors.New("no subordinate ids")

// Subordinate maps root inside to the user and the ids from 1 on to the user's subordinate ids. It says what is missing
// where that cannot be: the lines in /etc/subuid and /etc/subgid, or the two helpers that may write such a map. Root
// needs neither: it keeps the ids that there are.
func Subordinate(uid, gid int) (Map, error) {
	if uid == 0 {
		return everybody()
	}
	for _, helper := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(helper); err != nil {
			return Map{}, fmt.Errorf("%w: %s is not in PATH; install the package uidmap (or shadow-utils)", ErrNoSubordinate, helper)
		}
	}
	name := ""
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		name = u.Username
	}
	uids, err := subordinate("/etc/subuid", name, uid)
	if err != nil {
		return Map{}, err
	}
	gids, err := subordinate("/etc/subgid", name, uid)
	if err != nil {
		return Map{}, err
	}
	m := Map{
		UIDs: append([]Range{{0, uint32(uid), 1}}, uids...),
		GIDs: append([]Range{{0, uint32(gid), 1}}, gids...),
	}
	return m, m.Validate()
}

// Missing says what this process would need to have more ids than it has: nil where it has as many as it may want.
func Missing() error {
	if Here() == Root {
		return nil
	}
	uid, gid, ok := invoker()
	if !ok {
		uid, gid = os.Geteuid(), os.Getegid()
	}
	m, err := Subordinate(uid, gid)
	switch {
	case err != nil:
		return fmt.Errorf("only one id is granted here: %w", err)
	case Here() == Mapped:
		return fmt.Errorf("/etc/subuid and /etc/subgid grant %d users and %d groups; a range of 65536 has all that images use", count(m.UIDs), count(m.GIDs))
	}
	return errors.New("only one id is granted here, inside of a container or a user namespace")
}

func count(ranges []Range) (n uint32) {
	for _, r := range ranges {
		n += r.Count
	}
	return n
}

// subordinate reads a user's ranges from the file, or where nsswitch.conf names another source, from getsubids.
func subordinate(path, name string, uid int) ([]Range, error) {
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		var ranges []Range
		if ranges, err = parseSubordinate(f, name, uid); err == nil {
			return ranges, nil
		}
		if !errors.Is(err, ErrNoSubordinate) {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
	}
	if ranges := asked(path, name); ranges != nil {
		return ranges, nil
	}
	if name == "" {
		name = strconv.Itoa(uid)
	}
	return nil, fmt.Errorf("%w: %s has no line for user %s; as root: echo %s:100000:65536 >> %s (a range that nobody else has)",
		ErrNoSubordinate, path, name, name, path)
}

// asked is what getsubids says. It answers lines like "0: me 100000 65536".
func asked(path, name string) []Range {
	if name == "" || !switched() {
		return nil
	}
	args := []string{name}
	if strings.HasSuffix(path, "subgid") {
		args = []string{"-g", name}
	}
	out, err := exec.Command("getsubids", args...).Output()
	if err != nil {
		return nil
	}
	var b strings.Builder
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 4 {
			fmt.Fprintf(&b, "%s:%s:%s\n", f[1], f[2], f[3])
		}
	}
	ranges, err := parseSubordinate(strings.NewReader(b.String()), name, -1)
	if err != nil {
		return nil
	}
	return ranges
}

// switched says whether the machine keeps subordinate ids elsewhere than in the files.
func switched() bool {
	text, err := os.ReadFile("/etc/nsswitch.conf")
	return err == nil && strings.Contains("\n"+string(text), "\nsubid:")
}

func parseSubordinate(r io.Reader, name string, uid int) ([]Range, error) {
	var ranges []Range
	next := uint32(1)
	sc := bufio.NewScanner(io.LimitReader(r, 10<<20))
	for sc.Scan() {
		parts := strings.Split(strings.TrimSpace(sc.Text()), ":")
		if len(parts) != 3 || parts[0] != strconv.Itoa(uid) && (name == "" || parts[0] != name) {
			continue
		}
		start, err := strconv.ParseUint(parts[1], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", sc.Text(), err)
		}
		count, err := strconv.ParseUint(parts[2], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", sc.Text(), err)
		}
		if count == 0 {
			continue
		}
		ranges = append(ranges, Range{next, uint32(start), uint32(count)})
		next += uint32(count)
	}
	if err := sc.Err(); err != nil {
		return nil, err
	}
	if len(ranges) == 0 {
		return nil, ErrNoSubordinate
	}
	return ranges, nil
}
