package plan

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/hodbuild/hod/builder/dockerfile"
)

// expose performs EXPOSE: each word may expand to several ports, each port may be a range.
func (m *maker) expose(s *stage, c *dockerfile.Expose, lint *dockerfile.Linter) error {
	ports := []string{}
	for _, word := range c.Ports {
		specs, err := m.lex.Words(word, s.env)
		if err != nil {
			return err
		}
		for _, spec := range specs {
			list, err := exposed(spec, c.Location(), lint)
			if err != nil {
				return err
			}
			ports = append(ports, list...)
		}
	}
	config := &s.img.Config
	if config.ExposedPorts == nil {
		config.ExposedPorts = map[string]struct{}{}
	}
	for _, p := range ports {
		config.ExposedPorts[p] = struct{}{}
	}
	s.img.note(fmt.Sprintf("EXPOSE %v", ports), nil)
	return nil
}

// exposed reads [[ip:]host:]port[-port][/proto] into one port/proto per port.
func exposed(spec string, at []dockerfile.Range, lint *dockerfile.Linter) ([]string, error) {
	rest, proto, _ := strings.Cut(spec, "/")
	var ip, host string
	port := rest
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		host, port = rest[:i], rest[i+1:]
		if j := strings.LastIndexByte(host, ':'); j >= 0 {
			ip, host = host[:j], host[j+1:]
		}
		lint.ExposeHost(spec, at)
	}
	if proto == "" {
		proto = "tcp"
	}
	switch strings.ToLower(proto) {
	case "tcp", "udp", "sctp":
	default:
		return nil, fmt.Errorf("invalid port: %q: invalid proto: %s", spec, proto)
	}
	if port == "" {
		return nil, fmt.Errorf("invalid port: %q: no port specified", spec)
	}
	if proto != strings.ToLower(proto) {
		lint.ExposeCasing(spec, at)
	}
	if ip != "" {
		if _, err := netip.ParseAddr(strings.Trim(ip, "[]")); err != nil {
			return nil, fmt.Errorf("invalid IP address: %s", ip)
		}
	}
	first, last, err := portRange(port)
	if err != nil {
		return nil, fmt.Errorf("invalid containerPort: %s", port)
	}
	if host != "" {
		low, high, err := portRange(host)
		if err != nil {
			return nil, fmt.Errorf("invalid hostPort: %s", host)
		}
		if last-first != high-low && first != last {
			return nil, fmt.Errorf("invalid ranges specified for container and host ports: %s and %s", port, host)
		}
	}
	list := make([]string, 0, last-first+1)
	for p := first; p <= last; p++ {
		list = append(list, strconv.Itoa(p)+"/"+strings.ToLower(proto))
	}
	return list, nil
}

func portRange(s string) (first, last int, err error) {
	low, high, ranged := strings.Cut(s, "-")
	if first, err = portNumber(low); err != nil || !ranged {
		return first, first, err
	}
	if last, err = portNumber(high); err == nil && last < first {
		err = errors.New("the range ends before it begins")
	}
	return first, last, err
}

func portNumber(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), err
}
