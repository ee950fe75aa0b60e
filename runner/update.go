//go:build linux

package runner

import (
	"context"
	"errors"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// ContainerUpdate is what update changes: limits that are not zero, and the
// restart policy unless it is nil.
type ContainerUpdate struct {
	Resources Resources
	Restart   *RestartPolicy
}

// Update changes the limits and the restart policy of a container, at once if it
// runs. Nothing is recorded when the kernel takes a limit not.
func (cs *Containers) Update(ctx context.Context, ref string, u ContainerUpdate) error {
	c, s, err := cs.Lookup(ctx, ref)
	if err != nil {
		return err
	}
	if u.Restart != nil {
		if c.Options.AutoRemove && u.Restart.Name != "" && u.Restart.Name != "no" {
			return errors.New("the restart policy cannot be changed: the container was made with --rm")
		}
		c.Options.Restart = *u.Restart
	}
	c.Options.Resources.merge(u.Resources)
	spec := &specs.Spec{Linux: &specs.Linux{}}
	if err := setResources(spec, ImageConfig{}, ContainerOptions{Resources: c.Options.Resources}); err != nil {
		return err
	}
	if s.Running() && u.Resources.Asked() || s.Running() && u.Resources.PidsLimit != 0 {
		if s.Cgroup == "" {
			return errors.New("it has no control group (without root, delegation of cgroup v2 is needed)")
		}
		g := parseGroups(s.Cgroup)
		if err := g.Update(withSwap(g, c.Options.Resources, spec.Linux.Resources)); err != nil {
			return err
		}
	}
	if err := c.save(); err != nil {
		return err
	}
	cs.tell(c, "update")
	return nil
}

// merge takes from u what is not zero. --cpus and a quota take each other's place.
func (r *Resources) merge(u Resources) {
	if u.NanoCPUs != 0 {
		r.CPUQuota, r.CPUPeriod = 0, 0
	} else if u.CPUQuota != 0 || u.CPUPeriod != 0 {
		r.NanoCPUs = 0
	}
	take(&r.Memory, u.Memory)
	take(&r.MemorySwap, u.MemorySwap)
	take(&r.MemoryReservation, u.MemoryReservation)
	take(&r.NanoCPUs, u.NanoCPUs)
	take(&r.CPUShares, u.CPUShares)
	take(&r.CPUPeriod, u.CPUPeriod)
	take(&r.CPUQuota, u.CPUQuota)
	take(&r.CpusetCPUs, u.CpusetCPUs)
	take(&r.CpusetMems, u.CpusetMems)
	take(&r.PidsLimit, u.PidsLimit)
	take(&r.BlkioWeight, u.BlkioWeight)
}

func take[T comparable](to *T, from T) {
	var zero T
	if from != zero {
		*to = from
	}
}
