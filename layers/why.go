package layers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Why tells what keeps an object: one line for each way from a root (a name, a
// container, a repository, a live process, the cache) down to it. The object is
// a name, a digest, or a prefix of a digest's hexadecimal digits. No line means
// that the next collection removes it; ErrNotFound that nothing is called so.
func (s *Store) Why(ctx context.Context, object string) ([]string, error) {
	lines, err := s.why(ctx, object)
	if err != nil {
		return nil, fmt.Errorf("explain %q: %w", object, err)
	}
	return lines, nil
}

func (s *Store) why(ctx context.Context, object string) ([]string, error) {
	m := newMarks(s)
	records, err := s.cacheFiles(ctx)
	if err != nil {
		return nil, err
	}
	for _, mark := range []func() error{
		func() error { return m.referenced(ctx, nil) }, m.contained, func() error { return m.linked(ctx) },
		m.listed, func() error { return m.recorded(records) },
		func() error { return (&collection{s: s, dead: map[string]bool{}}).livingLeases(m) },
	} {
		if err := mark(); err != nil {
			return nil, err
		}
	}
	d, err := s.findObject(ctx, m, object)
	if err != nil {
		return nil, err
	}
	var lines []string
	m.paths(d, short(d), map[digest.Digest]bool{}, &lines)
	slices.Sort(lines)
	lines = slices.Compact(lines)
	// That an image is listed keeps it only until a prune: told when nothing else does.
	listed := func(l string) bool { return strings.HasPrefix(l, "image ") }
	if slices.ContainsFunc(lines, func(l string) bool { return !listed(l) }) {
		lines = slices.DeleteFunc(lines, listed)
	}
	return lines, nil
}

// livingLeases marks what other live processes hold.
func (c *collection) livingLeases(m *marks) error {
	leases, err := c.s.leases(bootSeconds())
	for _, l := range leases {
		c.dead[l.id] = !l.live
	}
	if c.s.lease != nil {
		c.dead[c.s.lease.id] = true // that we look at a thing is no reason to keep it
	}
	if err != nil {
		return err
	}
	return c.heldBy(m, leases)
}

// findObject turns what the user typed into a digest.
func (s *Store) findObject(ctx context.Context, m *marks, object string) (digest.Digest, error) {
	if d := digest.Digest(object); validDigest(d) == nil {
		return d, s.known(d, m)
	}
	if n, err := ParseName(object); err == nil {
		if ref, err := s.reference(n); err == nil {
			return ref.Target.Digest, nil
		}
	}
	all := map[digest.Digest]bool{}
	for d := range m.by {
		all[d] = s.known(d, m) == nil
	}
	if err := s.objects(ctx, func(c candidate) { all[c.d] = true }); err != nil {
		return "", err
	}
	var found digest.Digest
	for d, here := range all {
		if !here || len(object) < 4 || !strings.HasPrefix(d.Encoded(), object) {
			continue
		}
		if found != "" {
			return "", ErrAmbiguous
		}
		found = d
	}
	if found == "" {
		return "", ErrNotFound
	}
	return found, nil
}

func (s *Store) known(d digest.Digest, m *marks) error {
	if _, _, err := s.find("trees", d); err == nil || s.exists(d) || s.has(s.imagePath(d)) {
		return nil
	}
	return ErrNotFound
}

func short(d digest.Digest) string { return d.Encoded()[:12] }

// maxWays bounds what Why prints.
const maxWays = 1000

// paths follows keepers upwards and writes each way as one line.
func (m *marks) paths(d digest.Digest, way string, seen map[digest.Digest]bool, lines *[]string) {
	if seen[d] || len(*lines) >= maxWays {
		return
	}
	seen[d] = true
	defer delete(seen, d)
	for _, by := range m.by[d] {
		up := digest.Digest(by)
		if validDigest(up) != nil {
			*lines = append(*lines, by+" -> "+way)
			continue
		}
		m.paths(up, short(up)+" -> "+way, seen, lines)
	}
}
