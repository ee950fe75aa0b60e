package runner

import (
	"encoding/csv"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ParseVolume reads a -v flag: [SOURCE:]TARGET[:OPTION,…]. A source that begins
// with "/", "." or "~" is a path, else a volume's name.
func ParseVolume(s string) (MountSpec, error) {
	parts := strings.Split(s, ":")
	m := MountSpec{Type: "volume", CreateSrc: true}
	switch len(parts) {
	case 1:
		m.Target = parts[0]
	case 2:
		m.Source, m.Target = parts[0], parts[1]
	case 3:
		m.Source, m.Target = parts[0], parts[1]
		if err := m.options(parts[2]); err != nil {
			return m, fmt.Errorf("invalid volume %q: %w", s, err)
		}
	default:
		return m, fmt.Errorf("invalid volume %q: it must be [SOURCE:]TARGET[:OPTIONS]; use --mount for paths with colons", s)
	}
	if len(parts) > 1 && m.Source == "" {
		return m, fmt.Errorf("invalid volume %q: the source is empty", s)
	}
	if m.Source != "" && strings.ContainsAny(m.Source[:1], "/.~") {
		abs, err := filepath.Abs(m.Source)
		if err != nil {
			return m, fmt.Errorf("invalid volume %q: %w", s, err)
		}
		m.Type, m.Source = "bind", abs
	} else if m.Source != "" {
		if err := CheckName(m.Source); err != nil {
			return m, fmt.Errorf("invalid volume %q: %w; a path must begin with a slash or a dot", s, err)
		}
	}
	return m, m.checkTarget(s)
}

func (m *MountSpec) options(list string) error {
	for _, o := range strings.Split(list, ",") {
		switch o {
		case "rw", "z", "Z", "consistent", "cached", "delegated": // of Docker Desktop, without effect on Linux
		case "ro":
			m.ReadOnly = true
		case "nocopy":
			m.NoCopy = true
		case "private", "rprivate", "shared", "rshared", "slave", "rslave":
			m.Propagation = o
		default:
			return fmt.Errorf("unknown option %q", o)
		}
	}
	return nil
}

func (m *MountSpec) checkTarget(flag string) error {
	clean := path.Clean(m.Target)
	if !path.IsAbs(m.Target) || clean == "/" {
		return fmt.Errorf("invalid mount %q: the target %q must be an absolute path and not /", flag, m.Target)
	}
	m.Target = clean
	return nil
}

// ParseMount reads a --mount flag: comma-separated KEY=VALUE as CSV.
func ParseMount(s string) (MountSpec, error) {
	m := MountSpec{Type: "volume"}
	given := map[string]bool{}
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return m, fmt.Errorf("invalid mount %q: %w", s, err)
	}
	for _, field := range fields {
		key, value, valued := strings.Cut(strings.TrimSpace(field), "=")
		key = strings.ToLower(key)
		if err := m.set(key, value, valued); err != nil {
			return m, fmt.Errorf("invalid mount %q: %w", s, err)
		}
		given[key] = true
	}
	if err := m.check(given); err != nil {
		return m, fmt.Errorf("invalid mount %q: %w", s, err)
	}
	return m, m.checkTarget(s)
}

func (m *MountSpec) set(key, value string, given bool) (err error) {
	switch key {
	case "consistency":
		if !slices.Contains([]string{"default", "consistent", "cached", "delegated"}, value) {
			return fmt.Errorf("unknown consistency %q", value)
		}
	case "type":
		m.Type = strings.ToLower(value)
	case "source", "src":
		m.Source = value
	case "target", "destination", "dst":
		m.Target = value
	case "readonly", "ro":
		m.ReadOnly, err = yes(value, given)
	case "volume-nocopy":
		m.NoCopy, err = yes(value, given)
	case "volume-subpath", "image-subpath":
		m.Subpath, err = subpath(value)
	case "volume-driver":
		if value != "local" {
			return fmt.Errorf("unknown volume driver %q: it is local", value)
		}
	case "volume-label":
		err = putPair(&m.Volume.Labels, value)
	case "volume-opt":
		err = putPair(&m.Volume.Options, value)
	case "bind-propagation":
		if !slices.Contains([]string{"private", "rprivate", "shared", "rshared", "slave", "rslave"}, value) {
			return fmt.Errorf("unknown propagation %q", value)
		}
		m.Propagation = value
	case "bind-nonrecursive":
		m.NonRecur, err = yes(value, given)
	case "bind-recursive":
		m.NonRecur, err = recursion(value)
	case "bind-create-src":
		m.CreateSrc, err = yes(value, given)
	case "tmpfs-size":
		m.TmpfsSize, err = ParseBytes(value)
	case "tmpfs-mode":
		var n uint64
		n, err = strconv.ParseUint(value, 8, 32)
		m.TmpfsMode = uint32(n)
	default:
		return fmt.Errorf("unknown key %q", key)
	}
	return err
}

func yes(value string, given bool) (bool, error) {
	if !given {
		return true, nil
	}
	b, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", value)
	}
	return b, nil
}

// recursion reads bind-recursive and says whether only the mount itself is bound.
func recursion(value string) (bool, error) {
	switch value {
	case "enabled", "readonly": // read-only reaches what is mounted inside, too
		return false, nil
	case "disabled":
		return true, nil
	case "writable":
		return false, fmt.Errorf("bind-recursive=writable: a read-only bind of hod is read-only with all that is mounted inside; bind what is to be written on its own")
	}
	return false, fmt.Errorf("unknown bind-recursive %q: it is enabled, disabled or readonly", value)
}

// subpath is a relative path that leads not up, as docker wants it.
func subpath(value string) (string, error) {
	if !filepath.IsLocal(value) {
		return "", fmt.Errorf("subpath %q: it must be a relative path inside of what is mounted", value)
	}
	return path.Clean(value), nil
}

func putPair(to *map[string]string, pair string) error {
	key, value, valued := strings.Cut(pair, "=")
	if !valued || key == "" {
		return fmt.Errorf("%q is not KEY=VALUE", pair)
	}
	if *to == nil {
		*to = map[string]string{}
	}
	(*to)[key] = value
	return nil
}

// check refuses what does not fit together; given has the keys of the flag.
func (m *MountSpec) check(given map[string]bool) error {
	for key := range given {
		kind, _, of := strings.Cut(key, "-")
		if of && kind != m.Type && slices.Contains([]string{"bind", "volume", "tmpfs", "image"}, m.Type) {
			return fmt.Errorf("%s is not for a mount of type %s", key, m.Type)
		}
	}
	switch m.Type {
	case "bind":
		if m.Source == "" {
			return fmt.Errorf("a bind mount needs a source")
		}
		if !filepath.IsAbs(m.Source) {
			abs, err := filepath.Abs(m.Source)
			if err != nil {
				return err
			}
			m.Source = abs
		}
	case "volume":
		if m.Source != "" {
			if err := CheckName(m.Source); err != nil {
				return err
			}
		}
		return m.Volume.check()
	case "tmpfs":
		if m.Source != "" {
			return fmt.Errorf("a tmpfs has no source")
		}
	case "image":
		if m.Source == "" {
			return fmt.Errorf("an image mount needs a source")
		}
		if (given["readonly"] || given["ro"]) && !m.ReadOnly {
			return fmt.Errorf("an image mount is read-only")
		}
		m.ReadOnly = true
	default:
		return fmt.Errorf("unknown type %q: it is bind, volume, tmpfs or image", m.Type)
	}
	return nil
}

// ParseTmpfs reads a --tmpfs flag: TARGET[:OPTION,…].
func ParseTmpfs(s string) (MountSpec, error) {
	m := MountSpec{Type: "tmpfs"}
	target, list, _ := strings.Cut(s, ":")
	m.Target = target
	for _, o := range strings.Split(list, ",") {
		key, value, _ := strings.Cut(o, "=")
		var err error
		switch key {
		case "", "rw":
		case "ro":
			m.ReadOnly = true
		case "size":
			m.TmpfsSize, err = ParseBytes(value)
		case "mode":
			var n uint64
			n, err = strconv.ParseUint(value, 8, 32)
			m.TmpfsMode = uint32(n)
		case "exec", "noexec", "suid", "nosuid", "dev", "nodev", "uid", "gid", "nr_inodes", "noatime", "relatime":
			m.Options = append(m.Options, o)
		default:
			err = fmt.Errorf("unknown option %q", o)
		}
		if err != nil {
			return m, fmt.Errorf("invalid tmpfs %q: %w", s, err)
		}
	}
	return m, m.checkTarget(s)
}
