//go:build linux

package runner

import (
	"fmt"
	"testing"
)

func TestParseFlags(t *testing.T) {
	try := func(v any, err error) string {
		if err != nil {
			return "error"
		}
		return fmt.Sprintf("%+v", v)
	}
	bytes := func(s string) string { return try(ParseBytes(s)) }
	port := func(s string) string { return try(ParsePort(s)) }
	ulimit := func(s string) string { return try(ParseUlimit(s)) }
	device := func(s string) string { return try(ParseDevice(s)) }
	restart := func(s string) string { return try(ParseRestart(s)) }
	signal := func(s string) string {
		sig, err := ParseSignal(s)
		return try(int(sig), err)
	}
	volume := func(s string) string {
		m, err := ParseVolume(s)
		return try(fmt.Sprintf("%s %s>%s ro=%v %s", m.Type, m.Source, m.Target, m.ReadOnly, m.Propagation), err)
	}
	mount := func(s string) string {
		m, err := ParseMount(s)
		return try(fmt.Sprintf("%s %s>%s ro=%v %d", m.Type, m.Source, m.Target, m.ReadOnly, m.TmpfsSize), err)
	}
	keys := func(s string) string { return try(ParseDetachKeys(s)) }
	for _, c := range []struct {
		parse    func(string) string
		in, want string
	}{
		{bytes, "512m", "536870912"}, {bytes, "1.5g", "1610612736"}, {bytes, "64", "64"}, {bytes, "10kb", "10240"},
		{bytes, "1GiB", "1073741824"}, {bytes, "", "error"}, {bytes, "-1", "error"}, {bytes, "1x", "error"}, {bytes, "9999999p", "error"},
		{port, "80", "[{HostIP: HostPort:0 HostLast:0 ContainerPort:80 Protocol:tcp}]"},
		{port, "8080:80/udp", "[{HostIP: HostPort:8080 HostLast:0 ContainerPort:80 Protocol:udp}]"},
		{port, "127.0.0.1::80", "[{HostIP:127.0.0.1 HostPort:0 HostLast:0 ContainerPort:80 Protocol:tcp}]"},
		{port, "[::1]:8080:80", "[{HostIP:::1 HostPort:8080 HostLast:0 ContainerPort:80 Protocol:tcp}]"},
		{port, "80-81:90-91", "[{HostIP: HostPort:80 HostLast:0 ContainerPort:90 Protocol:tcp} {HostIP: HostPort:81 HostLast:0 ContainerPort:91 Protocol:tcp}]"},
		{port, "1-3:5", "[{HostIP: HostPort:1 HostLast:3 ContainerPort:5 Protocol:tcp}]"},
		{port, "70000:80", "error"}, {port, "x:80", "error"}, {port, "", "error"}, {port, "80/ftp", "error"}, {port, "1-3:5-6", "error"}, {port, "host:1:2", "error"},
		{ulimit, "nofile=10:20", "{Name:nofile Soft:10 Hard:20}"}, {ulimit, "core=-1", "{Name:core Soft:-1 Hard:-1}"},
		{ulimit, "nofile=20:10", "error"}, {ulimit, "bogus=1", "error"}, {ulimit, "nofile", "error"},
		{device, "/dev/fuse", "{PathOnHost:/dev/fuse PathInContainer:/dev/fuse Permissions:rwm}"},
		{device, "/dev/a:/dev/b:r", "{PathOnHost:/dev/a PathInContainer:/dev/b Permissions:r}"}, {device, "fuse", "error"},
		{restart, "on-failure:3", "{Name:on-failure Max:3}"}, {restart, "always:3", "error"}, {restart, "sometimes", "error"},
		{signal, "TERM", "15"}, {signal, "sigkill", "9"}, {signal, "9", "9"}, {signal, "RTMIN+3", "37"}, {signal, "0", "error"}, {signal, "65", "error"}, {signal, "NOPE", "error"},
		{volume, "/a:/b:ro", "bind /a>/b ro=true "}, {volume, "data:/b", "volume data>/b ro=false "}, {volume, "/b", "volume >/b ro=false "},
		{volume, "/a:/b:rshared", "bind /a>/b ro=false rshared"}, {volume, "a b:/c", "error"}, {volume, "/a:b", "error"}, {volume, "/a:/", "error"}, {volume, "/a:/b:bogus", "error"}, {volume, ":/b", "error"},
		{mount, "type=bind,src=/a,dst=/b,readonly", "bind /a>/b ro=true 0"}, {mount, "type=tmpfs,dst=/t,tmpfs-size=1m", "tmpfs >/t ro=false 1048576"},
		{mount, `type=bind,"src=/a,b",dst=/b`, "bind /a,b>/b ro=false 0"}, {mount, "type=nfs,dst=/b", "error"}, {mount, "type=bind,dst=/b", "error"}, {mount, "dst=/b,bogus=1", "error"},
		{keys, "ctrl-p,ctrl-q", "[16 17]"}, {keys, "a,ctrl-[", "[97 27]"}, {keys, "ctrl-", "error"},
	} {
		if got := c.parse(c.in); got != c.want {
			t.Errorf("%q: got %s, want %s", c.in, got, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	for _, bad := range []string{"", "a", "..", "a/b", ".x", "-x", "a b", "ä1", string(make([]byte, 300))} {
		if CheckName(bad) == nil {
			t.Errorf("name %q is accepted", bad)
		}
	}
	for range 200 {
		if name := RandomName(1); CheckName(name) != nil {
			t.Errorf("made name %q is not valid", name)
		}
	}
	if id := NewID(); !ValidID(id) || ValidID("../"+id[3:]) {
		t.Error("identity")
	}
}

func TestDetachKeysAreHeldBackAndGivenOn(t *testing.T) {
	k := keyWatch{keys: []byte{16, 17}}
	out, found := k.pass([]byte{'a', 16})
	if string(out) != "a" || found {
		t.Errorf("%q %v", out, found)
	}
	if out, found = k.pass([]byte("b")); string(out) != "\x10b" || found {
		t.Errorf("%q %v", out, found)
	}
	k.pass([]byte{16})
	if _, found = k.pass([]byte{17}); !found {
		t.Error("detach keys across two reads are not seen")
	}
}
