//go:build linux

package runner

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/hodbuild/hod/runner/cgroup"
)

// deviceRules are docker's: every node may be made, only known ones opened. The
// privileged may open all.
func deviceRules(s *specs.Spec, o ContainerOptions) ([]specs.LinuxDeviceCgroup, error) {
	if o.Privileged {
		return nil, nil
	}
	rules := append([]specs.LinuxDeviceCgroup{{Access: "rwm"}}, cgroup.StandardDevices()...)
	for i, d := range s.Linux.Devices {
		access := o.Devices[i].Permissions
		if access == "" {
			access = "rwm"
		}
		rules = append(rules, cgroup.AllowDevice(d.Type, d.Major, d.Minor, access))
	}
	for _, text := range o.DeviceRules {
		kind, major, minor, access, err := parseDeviceRule(text)
		if err != nil {
			return nil, err
		}
		rules = append(rules, cgroup.AllowDevice(kind, major, minor, access))
	}
	return rules, nil
}

// limitsDevices says whether the rules do more than what a user namespace does
// by itself: in one no node can be made, and mounts show none but those given.
func (o ContainerOptions) limitsDevices() bool {
	for _, d := range o.Devices {
		if d.Permissions != "" && (!strings.Contains(d.Permissions, "r") || !strings.Contains(d.Permissions, "w")) {
			return true
		}
	}
	return len(o.DeviceRules) > 0
}

// parseDeviceRule reads a --device-cgroup-rule: "c 10:229 rwm", with * for any
// number.
func parseDeviceRule(text string) (kind string, major, minor int64, access string, err error) {
	bad := fmt.Errorf("invalid --device-cgroup-rule %q: it is TYPE MAJOR:MINOR ACCESS, as in \"c 10:229 rwm\"", text)
	fields := strings.Fields(text)
	if len(fields) != 3 || !strings.Contains("abc", fields[0]) || len(fields[0]) != 1 || strings.Trim(fields[2], "rwm") != "" {
		return "", 0, 0, "", bad
	}
	first, second, ok := strings.Cut(fields[1], ":")
	if !ok {
		return "", 0, 0, "", bad
	}
	numbers := [2]int64{}
	for i, s := range []string{first, second} {
		if s == "*" {
			numbers[i] = -1
			continue
		}
		n, err := strconv.ParseUint(s, 10, 31)
		if err != nil {
			return "", 0, 0, "", bad
		}
		numbers[i] = int64(n)
	}
	return fields[0], numbers[0], numbers[1], fields[2], nil
}
