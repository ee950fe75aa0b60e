//go:build linux

package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/hodbuild/hod/layers"
)

// ParseConfig reads what a raw image configuration says of running it.
func ParseConfig(raw []byte) (ImageConfig, error) {
	var c struct {
		Config ImageConfig `json:"config"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c.Config, fmt.Errorf("read image config: %w", err)
	}
	return c.Config, nil
}

// Create records a new container of an image, with the volumes that it needs.
// name is what the user called the image.
func (cs *Containers) Create(img *layers.Image, name string, o ContainerOptions) (*Container, error) {
	config, err := ParseConfig(img.Config)
	if err != nil {
		return nil, err
	}
	c := &Container{Name: o.Name, Image: name, ImageID: img.ID.String(), Config: config, Options: o}
	for _, d := range img.Chain {
		c.Chain = append(c.Chain, d.String())
	}
	line, err := o.command(config)
	if err != nil {
		return nil, err
	}
	c.Path, c.Args = line[0], line[1:]
	if err := o.check(); err != nil {
		return nil, err
	}
	if c.Options.Mounts, err = cs.mountsFrom(o.VolumesFrom, c.Options.Mounts); err != nil {
		return nil, err
	}
	if err := c.addImageVolumes(); err != nil {
		return nil, err
	}
	c.nameVolumes()
	if err := cs.Add(c); err != nil {
		return nil, err
	}
	if err := cs.makeVolumes(c); err != nil {
		c.Options.AutoRemove = true // and with it its volumes
		return nil, errors.Join(err, cs.erase(c))
	}
	cs.tell(c, "create")
	return c, nil
}

// command is the entry point followed by the arguments, as docker joins them.
func (o *ContainerOptions) command(config ImageConfig) ([]string, error) {
	entry, args := config.Entrypoint, config.Cmd
	if o.EntrypointSet {
		entry, args = o.Entrypoint, nil
	}
	if len(o.Args) > 0 {
		args = o.Args
	}
	line := slices.Concat(entry, args)
	if len(line) == 0 || line[0] == "" {
		return nil, errors.New("no command specified: the image names none, so give one after the image")
	}
	return line, nil
}

// check refuses combinations that contradict each other.
func (o *ContainerOptions) check() error {
	if o.AutoRemove && o.Restart.Name != "" && o.Restart.Name != "no" {
		return errors.New("conflicting options: --restart and --rm")
	}
	shared := o.Network == "host" || strings.HasPrefix(o.Network, "container:")
	if shared && strings.HasPrefix(o.Network, "container:") && (len(o.Ports) > 0 || o.PublishAll) {
		return errors.New("conflicting options: port publishing and --network container")
	}
	if strings.HasPrefix(o.Network, "container:") && (o.Hostname != "" || len(o.DNS) > 0 || len(o.ExtraHosts) > 0) {
		return errors.New("conflicting options: --hostname, --dns or --add-host and --network container")
	}
	if shared && (o.IP != "" || o.MAC != "") {
		return errors.New("conflicting options: --ip or --mac-address need a private network")
	}
	if o.Network == "none" && slices.ContainsFunc(o.ExtraHosts, namesHost) {
		return errors.New("conflicting options: --add-host with host-gateway and --network none")
	}
	if o.UTSNS == "host" && o.Hostname != "" {
		return errors.New("conflicting options: --hostname and --uts host")
	}
	for _, s := range o.Attach {
		if !slices.Contains([]string{"stdin", "stdout", "stderr"}, strings.ToLower(s)) {
			return fmt.Errorf("--attach %q: it is stdin, stdout or stderr", s)
		}
	}
	if o.StopSignal != "" {
		if _, err := ParseSignal(o.StopSignal); err != nil {
			return err
		}
	}
	return o.distinctMounts()
}

// distinctMounts refuses two mounts at one place, and what the runtime or the network of the container cannot be.
func (o *ContainerOptions) distinctMounts() error {
	seen := map[string]bool{}
	for _, m := range o.Mounts {
		if seen[m.Target] {
			return fmt.Errorf("duplicate mount point: %s", m.Target)
		}
		seen[m.Target] = true
	}
	if err := o.checkRuntime(); err != nil {
		return err
	}
	return checkNetwork(o.Network)
}

func checkNetwork(mode string) error {
	switch mode {
	case "", "default", "bridge", "private", "none", "host":
		return nil
	}
	if ref, ok := strings.CutPrefix(mode, "container:"); ok && ref != "" {
		return nil
	}
	return fmt.Errorf("network %s not found: it is private (bridge), none, host or container:NAME", mode)
}

// forbiddenTargets are where an image's VOLUME may not put anything: it would
// hide what keeps the container in (CVE-2019-16884).
var forbiddenTargets = []string{"/proc", "/sys", "/dev"}

// addImageVolumes turns the image's VOLUME words into anonymous volumes, where
// no mount of the user's takes their place.
func (c *Container) addImageVolumes() error {
	var targets []string
	for t := range c.Config.Volumes {
		targets = append(targets, t)
	}
	sort.Strings(targets)
	for _, t := range targets {
		clean := path.Clean("/" + t)
		for _, f := range forbiddenTargets {
			if clean == "/" || clean == f || strings.HasPrefix(clean, f+"/") {
				return fmt.Errorf("the image asks for a volume at %q, which no image may cover", t)
			}
		}
		if slices.ContainsFunc(c.Options.Mounts, func(m MountSpec) bool { return m.Target == clean }) {
			continue
		}
		c.Options.Mounts = append(c.Options.Mounts, MountSpec{Type: "volume", Target: clean})
	}
	return nil
}

// nameVolumes gives names to the volumes without.
func (c *Container) nameVolumes() {
	for i := range c.Options.Mounts {
		m := &c.Options.Mounts[i]
		switch {
		case m.Type != "volume":
		case m.Source == "":
			m.Source = NewID()
			c.Anonymous = append(c.Anonymous, m.Source)
		default:
			c.Volumes = append(c.Volumes, m.Source)
		}
	}
}

// makeVolumes makes the volumes that the container's mounts name. The container
// is recorded by then, so that at no time there is one that nobody knows of.
func (cs *Containers) makeVolumes(c *Container) error {
	for _, m := range c.Options.Mounts {
		if m.Type != "volume" {
			continue
		}
		if _, err := cs.volumes.of(c, m); err != nil {
			return err
		}
	}
	return nil
}

// of is the volume of a container's mount, made where it is not there.
func (vs *Volumes) of(c *Container, m MountSpec) (*Volume, error) {
	return vs.create(m.Source, m.Volume, slices.Contains(c.Anonymous, m.Source))
}
