package sandbox

// Range maps Count ids from Inside a user namespace to Outside of it.
type Range struct{ Inside, Outside, Count uint32 }
