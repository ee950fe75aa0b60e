// Package bundle runs OCI bundles as an OCI runtime does: create makes the
// sandbox and leaves its process waiting, start lets it execute the program,
// state, kill and delete look at it, signal it and take it away. Between two
// calls no process of hod lives; what is known of a container is a folder below
// Root with state.json, the fifo that start writes to, and nothing else.
//
//	rt := bundle.Runtime{Root: "/run/hod/runtime"}
//	rt.Create("web", bundle.CreateOptions{Bundle: "/tmp/web"})
//	rt.Start("web")
//
// It is a thin face over the room sandbox; Docker, Podman, buildah and
// containerd use it as they use runc.
package bundle
