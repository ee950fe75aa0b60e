package snapshot

import (
	"os"

	"github.com/hodbuild/hod/layers/userns"
)

// IDRange maps Count ids from Inside a user namespace to Outside of it.
type IDRange = userns.Range

// Namespace returns a descriptor of a user namespace with these maps, for mapping mounts; no process lives in it. It
// needs root.
func Namespace(uids, gids []IDRange) (*os.File, error) {
	return userns.File(userns.Map{UIDs: uids, GIDs: gids})
}
