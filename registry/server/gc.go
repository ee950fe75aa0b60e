package server

import (
	"context"
	"errors"
	"time"

	"github.com/hodbuild/hod/layers"
)

// Collect gives back what no repository needs: uploads that were abandoned, blobs
// that no manifest of a repository names any more, and what then lies in the
// store for nobody. It runs while the server serves; what was pushed, linked or
// asked for within the grace stays, so that a push that goes on is not harmed.
func (s *Server) Collect(ctx context.Context, grace time.Duration) error {
	repos, err := s.store.Repositories(ctx)
	if err != nil {
		return err
	}
	var failed []error // one repository that cannot be read keeps nothing from the others
	for _, repo := range repos {
		failed = append(failed, s.store.SweepRepository(ctx, repo, grace))
	}
	res, err := s.store.Collect(ctx, layers.CollectOptions{Expiry: grace})
	s.count.sweep(res.Bytes)
	return errors.Join(append(failed, err)...)
}

// CollectEvery collects again and again until the context ends.
func (s *Server) CollectEvery(ctx context.Context, pause, grace time.Duration) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if err := s.Collect(ctx, grace); err != nil && !errors.Is(err, context.Canceled) && s.o.Log != nil {
			s.o.Log.Printf("error: collect: %v", err)
		}
	}
}
