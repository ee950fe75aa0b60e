package runner

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"path"
	"strconv"
	"strings"
)

// ParseBytes reads a size: digits, maybe with a fraction, and b, k, m, g, t or p
// (powers of 1024, with an optional "b" or "ib").
func ParseBytes(s string) (int64, error) {
	t := strings.ToLower(strings.TrimSpace(s))
	digits := strings.TrimRight(t, "bikmgtp ")
	unit := strings.TrimSpace(t[len(digits):])
	unit = strings.TrimSuffix(strings.TrimSuffix(unit, "b"), "i")
	shift := strings.Index("kmgtp", unit)
	if unit == "" {
		shift = -1
	} else if len(unit) != 1 || shift < 0 {
		return 0, fmt.Errorf("invalid size: %q", s)
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || n < 0 || strings.ContainsAny(digits, "einx_+") {
		return 0, fmt.Errorf("invalid size: %q", s)
	}
	n *= math.Pow(1024, float64(shift+1))
	if n > math.MaxInt64/2 {
		return 0, fmt.Errorf("invalid size: %q is too large", s)
	}
	return int64(n), nil
}

// ParsePort reads a -p flag, [[HOSTIP:]HOSTPORT:]PORT[/tcp|udp], where both
// ports may be ranges of the same length; a range of the host's for one port is
// where a free one is looked for. A v6 address stands in brackets.
func ParsePort(s string) ([]PortMapping, error) {
	bad := func(why string) ([]PortMapping, error) {
		return nil, fmt.Errorf("invalid port %q: %s", s, why)
	}
	rest, proto, ok := strings.Cut(s, "/")
	if !ok {
		proto = "tcp"
	}
	if proto = strings.ToLower(proto); proto != "tcp" && proto != "udp" {
		return bad("the protocol must be tcp or udp")
	}
	host, ip := "", ""
	i := strings.LastIndexByte(rest, ':')
	inside := rest[i+1:]
	if i >= 0 {
		host = rest[:i]
		if j := strings.LastIndexByte(host, ':'); j >= 0 {
			ip, host = host[:j], host[j+1:]
			ip = strings.TrimSuffix(strings.TrimPrefix(ip, "["), "]")
			if _, err := netip.ParseAddr(ip); err != nil && ip != "" {
				return bad("the address is not an IP address")
			}
		}
	}
	first, last, err := portRange(inside)
	if err != nil {
		return bad("the container's port must be 1 to 65535")
	}
	var hostFirst, hostLast uint16
	if host != "" {
		if hostFirst, hostLast, err = portRange(host); err != nil {
			if host != "0" {
				return bad("the host's port must be 1 to 65535")
			}
		} else if hostLast-hostFirst != last-first && first != last {
			return bad("the two ranges differ in length")
		}
	}
	var out []PortMapping
	for n := 0; n <= int(last-first); n++ {
		m := PortMapping{HostIP: ip, ContainerPort: first + uint16(n), Protocol: proto}
		if hostFirst > 0 {
			m.HostPort = hostFirst + uint16(n)
			if first == last && hostLast > hostFirst {
				m.HostLast = hostLast
			}
		}
		out = append(out, m)
	}
	return out, nil
}

func portRange(s string) (first, last uint16, err error) {
	a, b, ranged := strings.Cut(s, "-")
	if !ranged {
		b = a
	}
	x, err := strconv.ParseUint(a, 10, 16)
	if err != nil {
		return 0, 0, err
	}
	y, err := strconv.ParseUint(b, 10, 16)
	if err != nil {
		return 0, 0, err
	}
	if x == 0 || y < x {
		return 0, 0, strconv.ErrRange
	}
	return uint16(x), uint16(y), nil
}

// ParseExpose reads an exposed port or range, 80 or 80-90/udp, as "80/tcp" words.
func ParseExpose(s string) ([]string, error) {
	number, proto, ok := strings.Cut(s, "/")
	if !ok {
		proto = "tcp"
	}
	first, last, err := portRange(number)
	if proto = strings.ToLower(proto); err != nil || proto != "tcp" && proto != "udp" && proto != "sctp" {
		return nil, fmt.Errorf("invalid exposed port %q", s)
	}
	var out []string
	for n := int(first); n <= int(last); n++ {
		out = append(out, fmt.Sprintf("%d/%s", n, proto))
	}
	return out, nil
}

// ulimits are the names that --ulimit takes.
var ulimits = map[string]bool{
	"core": true, "cpu": true, "data": true, "fsize": true, "locks": true, "memlock": true,
	"msgqueue": true, "nice": true, "nofile": true, "nproc": true, "rss": true, "rtprio": true,
	"rttime": true, "sigpending": true, "stack": true, "as": true,
}

// ParseUlimit reads a --ulimit flag: NAME=SOFT[:HARD], -1 or unlimited for none.
func ParseUlimit(s string) (Ulimit, error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok || !ulimits[name] {
		return Ulimit{}, fmt.Errorf("invalid ulimit %q: it must be NAME=SOFT[:HARD] with a name such as nofile", s)
	}
	soft, hard, both := strings.Cut(value, ":")
	if !both {
		hard = soft
	}
	u := Ulimit{Name: name}
	var err error
	if u.Soft, err = limit(soft); err == nil {
		u.Hard, err = limit(hard)
	}
	if err != nil {
		return u, fmt.Errorf("invalid ulimit %q: %w", s, err)
	}
	if u.Hard != -1 && (u.Soft == -1 || u.Soft > u.Hard) {
		return u, fmt.Errorf("invalid ulimit %q: the soft limit is above the hard one", s)
	}
	return u, nil
}

func limit(s string) (int64, error) {
	if s == "unlimited" {
		return -1, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < -1 {
		return 0, fmt.Errorf("%q is not a limit", s)
	}
	return n, nil
}

// ParseDevice reads a --device flag: HOST[:INSIDE][:rwm].
func ParseDevice(s string) (DeviceMapping, error) {
	parts := strings.Split(s, ":")
	d := DeviceMapping{PathOnHost: parts[0], PathInContainer: parts[0], Permissions: "rwm"}
	switch {
	case len(parts) == 2 && deviceAccess(parts[1]):
		d.Permissions = parts[1]
	case len(parts) == 2:
		d.PathInContainer = parts[1]
	case len(parts) == 3 && deviceAccess(parts[2]):
		d.PathInContainer, d.Permissions = parts[1], parts[2]
	case len(parts) != 1:
		return d, fmt.Errorf("invalid device %q: it must be HOST[:INSIDE][:rwm]", s)
	}
	if !path.IsAbs(d.PathOnHost) || !path.IsAbs(d.PathInContainer) {
		return d, fmt.Errorf("invalid device %q: both paths must be absolute", s)
	}
	return d, nil
}

func deviceAccess(s string) bool {
	return s != "" && strings.Trim(s, "rwm") == "" && len(s) <= 3
}

// ParseRestart reads a --restart flag.
func ParseRestart(s string) (RestartPolicy, error) {
	name, count, counted := strings.Cut(s, ":")
	p := RestartPolicy{Name: name}
	switch name {
	case "", "no", "always", "unless-stopped":
		if counted {
			return p, fmt.Errorf("invalid restart policy %q: only on-failure takes a number", s)
		}
	case "on-failure":
		if counted {
			n, err := strconv.Atoi(count)
			if err != nil || n < 0 {
				return p, fmt.Errorf("invalid restart policy %q: the number of tries is not a number", s)
			}
			p.Max = n
		}
	default:
		return p, fmt.Errorf("invalid restart policy %q: it is no, always, unless-stopped or on-failure[:N]", s)
	}
	return p, nil
}

// ParseEnvFile reads the lines of an --env-file or a --label-file: KEY=VALUE, or KEY alone, which
// takes the value that lookup finds; # begins a comment line.
func ParseEnvFile(name string, lookup func(string) (string, bool)) ([]string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var env []string
	text := strings.TrimPrefix(string(data), "\ufeff")
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimLeft(strings.TrimSuffix(line, "\r"), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		e, err := ParseEnv(line, lookup)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", name, i+1, err)
		}
		env = append(env, e...)
	}
	return env, nil
}

// ParseEnv reads one -e flag; a name alone that lookup does not know is left out.
func ParseEnv(s string, lookup func(string) (string, bool)) ([]string, error) {
	name, _, ok := strings.Cut(s, "=")
	if name == "" || strings.ContainsAny(name, " \t") || strings.IndexByte(s, 0) >= 0 {
		return nil, fmt.Errorf("invalid environment variable %q", s)
	}
	if ok {
		return []string{s}, nil
	}
	if v, found := lookup(name); found {
		return []string{name + "=" + v}, nil
	}
	return nil, nil
}
