package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/hodbuild/hod/builder"
	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
)

// buildRunOptions reads the flags about what RUN steps see.
func buildRunOptions(c *cli.Context) (builder.RunOptions, error) {
	o := builder.RunOptions{Network: c.String("network"), CgroupParent: c.String("cgroup-parent"),
		Secrets: map[string][]byte{}, SSH: map[string]*builder.Agent{}}
	for _, each := range []struct {
		flag string
		read func(string, *builder.RunOptions) error
	}{{"secret", readSecret}, {"ssh", readSSH}, {"allow", readAllow}, {"add-host", readHost}, {"ulimit", readUlimit}} {
		for _, v := range c.StringSlice(each.flag) {
			if err := each.read(v, &o); err != nil {
				return o, fmt.Errorf("--%s %q: %w", each.flag, v, err)
			}
		}
	}
	if o.Network == "host" { // who gives the flag allows it
		o.AllowHost = true
	}
	var limits runner.ContainerOptions // whose flags these are, too
	err := errors.Join(resourceOptions(c, &limits), memoryOptions(c, &limits))
	o.ShmSize, o.Limits = limits.ShmSize, limits.Resources
	return o, err
}

const maxSecret = 500 << 10

func readSecret(v string, o *builder.RunOptions) error {
	at := map[string]string{}
	parts, err := csv.NewReader(strings.NewReader(v)).Read()
	if err != nil {
		return err
	}
	for _, part := range parts {
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return fmt.Errorf("%q is not NAME=VALUE", part)
		}
		if name == "source" {
			name = "src"
		}
		at[name] = value
	}
	id, file, env := at["id"], at["src"], at["env"]
	for name := range at {
		if name != "id" && name != "src" && name != "env" && name != "type" {
			return fmt.Errorf("unknown attribute %q", name)
		}
	}
	if kind := at["type"]; kind == "env" && env == "" {
		env, file = file, ""
	} else if kind != "" && kind != "file" && kind != "env" {
		return fmt.Errorf("unknown type %q", kind)
	}
	if id == "" {
		return fmt.Errorf("it has no id")
	}
	if env == "" && file == "" {
		if _, ok := os.LookupEnv(id); ok {
			env = id
		} else {
			file = id
		}
	}
	if env != "" {
		value, ok := os.LookupEnv(env)
		if !ok {
			return fmt.Errorf("the environment has no %s", env)
		}
		o.Secrets[id] = []byte(value)
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err == nil && len(data) > maxSecret {
		err = fmt.Errorf("larger than %d bytes", maxSecret)
	}
	o.Secrets[id] = data
	return err
}

func readSSH(v string, o *builder.RunOptions) error {
	id, list, given := strings.Cut(v, "=")
	if o.SSH[id] != nil {
		return fmt.Errorf("the id %q is given twice", id)
	}
	if list == "" {
		list, given = os.Getenv("SSH_AUTH_SOCK"), false
	}
	if list == "" {
		return fmt.Errorf("no agent runs here: SSH_AUTH_SOCK is not set")
	}
	paths, raw := []string{list}, false
	if given {
		paths = strings.Split(list, ",")
	}
	for i, word := range slices.Backward(paths) {
		if value, ok := strings.CutPrefix(word, "raw="); ok {
			var err error
			if raw, err = strconv.ParseBool(value); err != nil {
				return fmt.Errorf("raw is true or false, not %q", value)
			}
			paths = slices.Delete(paths, i, i+1)
		}
	}
	var err error
	o.SSH[id], err = builder.OpenAgent(paths, raw)
	return err
}

func readAllow(v string, o *builder.RunOptions) error {
	switch v {
	case "network.host":
		o.AllowHost = true
	case "security.insecure":
		o.AllowInsecure = true
	default:
		return fmt.Errorf("it is not network.host or security.insecure")
	}
	return nil
}

func readHost(v string, o *builder.RunOptions) error {
	name, ip, ok := strings.Cut(v, "=")
	if !ok {
		name, ip, ok = strings.Cut(v, ":")
	}
	if !ok || name == "" || strings.ContainsAny(name, " \t\n") {
		return fmt.Errorf("it is not NAME:IP")
	}
	if ip != "host-gateway" {
		if _, err := netip.ParseAddr(strings.Trim(ip, "[]")); err != nil {
			return err
		}
	}
	o.ExtraHosts = append(o.ExtraHosts, name+":"+strings.Trim(ip, "[]"))
	return nil
}

func readUlimit(v string, o *builder.RunOptions) error {
	u, err := runner.ParseUlimit(v)
	o.Ulimits = append(o.Ulimits, u)
	return err
}
