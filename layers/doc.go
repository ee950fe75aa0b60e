// Package layers is the store: layers in all their forms, images, references,
// records, and what keeps them, for any number of processes without a daemon.
//
// # Terms
//
// A layer is its diffID, the digest of its tar. Its forms are a tree (unpacked),
// a tar, and compressed blobs. An image is its raw config and an ordered list of
// diffIDs, its [Chain]; a manifest is a form of an image. A reference is a name
// for a manifest, an index, or the config of an image that has no manifest yet.
// A lease is what a live process claims to use; collection leaves it alone.
//
// # Life of an object
//
// Everything is written aside under tmp/, verified, and renamed into place: a
// name that exists is whole, but for layers of an image that are known to be in a
// registry ([Origin]). There are two shelves. What was acknowledged to the
// user lies on the kept shelf, the root itself, and was synced before it came
// there. What can be made again lies under boot/<boot id>/ and is not synced;
// after another boot nobody looks there and collection clears it away. Tag and
// PutImage move what they name from the second shelf to the first, so that what
// they acknowledge survives a power cut.
//
//	s, err := layers.Open(layers.DefaultRoot(), layers.Options{})
//	if err != nil { … }
//	defer s.Close()
//	img, err := s.Resolve(ctx, "alpine", nil)
//	snap, err := s.Mount(ctx, img.Chain, layers.MountOptions{Writable: true})
//
// # Locks
//
// One lock file, held shared for the moment in which a lease grows and
// exclusively for the moments in which a collection renames away what nobody
// claims. No lock is held while bytes move. A lease is a file that its process
// keeps locked, so the kernel ends it with the process.
package layers
