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
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return m, fmt.Errorf("invalid mount %q: %w", s, err)
	}
	for _, field := range fields {
		key, value, given := strings.Cut(strings.TrimSpace(field), "=")
		if err := m.set(strings.ToLower(key), value, given); err != nil {
			return m, fmt.Errorf("invalid mount %q: %w", s, err)
		}
	}
	if err := m.check(); err != nil {
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
	case "bind-propagation":
		if !slices.Contains([]string{"private", "rprivate", "shared", "rshared", "slave", "rslave"}, value) {
			return fmt.Errorf("unknown propagation %q", value)
		}
		m.Propagation = value
	case "bind-nonrecursive":
		m.NonRecur, err = yes(value, given)
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

func (m *MountSpec) check() error {
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
			return CheckName(m.Source)
		}
	case "tmpfs":
		if m.Source != "" {
			return fmt.Errorf("a tmpfs has no source")
		}
	default:
		return fmt.Errorf("unknown type %q: it is bind, volume or tmpfs", m.Type)
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
