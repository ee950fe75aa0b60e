// Package archive reads and writes images in files.
//
// An OCI layout is a folder, or a tar of one: oci-layout names the version,
// index.json the manifests, blobs/sha256/… holds everything by its digest. A
// Docker archive is a tar in which manifest.json lists, for each image, its
// names, the path of its config and the paths of its layers as plain tars.
// Docker since 25 writes both into one tar, and so does a [Sink] of ours.
//
// [Open] takes any of them and gives a [Source]. Nothing that a source says is
// believed: paths are looked up in the list of the archive's own regular files
// and never on the host, links lead only to such files, JSON is bounded, and
// what Blob gives is verified against its descriptor to the last byte.
//
//	src, err := archive.Open("image.tar")
//	for _, item := range src.Items() {
//		manifest, err := src.Read(item.Target)
//		…
//	}
package archive
