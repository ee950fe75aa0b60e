package layers

import (
	"context"
	"strings"
	"testing"
)

// A layer changes shelves once, when an image first names it. Who looks at it in that moment sees all of it.
func TestLayerIsWholeWhileItMoves(t *testing.T) {
	ctx, s := context.Background(), testStoreOn(t, t.TempDir())
	for n := range 300 {
		d := testLayer(t, s, strings.Repeat("x", n+1))
		moved := make(chan error)
		go func() { moved <- s.keepLayer(ctx, d, nil) }()
		for done := false; !done; {
			info, err := s.Layer(d)
			if err != nil || !info.HasTar || !s.whole(d) {
				t.Fatalf("layer %d while it moves: %+v: %v", n, info, err)
			}
			select {
			case err := <-moved:
				if err != nil {
					t.Fatal(err)
				}
				done = true
			default:
			}
		}
	}
}
