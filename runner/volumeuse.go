//go:build linux

package runner

import (
	"context"
	"fmt"
	"slices"
)

// RemoveVolume deletes a volume, unless a container uses it.
func (cs *Containers) RemoveVolume(ctx context.Context, name string, force bool) error {
	users, err := cs.VolumeUsers(ctx)
	if err != nil {
		return err
	}
	if ids := users[name]; len(ids) > 0 {
		return fmt.Errorf("remove volume %s: volume is in use by container %v; remove the container first", name, ids)
	}
	if _, err := cs.volumes.Inspect(name); err != nil && force {
		return nil
	}
	return cs.volumes.remove(name)
}

// VolumeUsers says which containers, running or not, use which volume.
func (cs *Containers) VolumeUsers(ctx context.Context) (map[string][]string, error) {
	list, err := cs.List(ctx)
	return VolumeUsers(list), err
}

// VolumeUsers says which of these containers use which volume.
func VolumeUsers(list []Entry) map[string][]string {
	users := map[string][]string{}
	for _, e := range list {
		for _, v := range slices.Concat(e.Volumes, e.Anonymous) {
			if !slices.Contains(users[v], e.ID) {
				users[v] = append(users[v], e.ID)
			}
		}
	}
	return users
}

// PruneVolumes deletes the unused volumes that fit. It returns their names.
func (cs *Containers) PruneVolumes(ctx context.Context, fits func(*Volume) bool) ([]string, error) {
	users, err := cs.VolumeUsers(ctx)
	if err != nil {
		return nil, err
	}
	cs.volumes.sweep()
	list, err := cs.volumes.List()
	if err != nil {
		return nil, err
	}
	var gone []string
	for _, v := range list {
		if len(users[v.Name]) > 0 || !fits(v) {
			continue
		}
		if err := cs.volumes.remove(v.Name); err != nil {
			return gone, err
		}
		gone = append(gone, v.Name)
	}
	return gone, nil
}
