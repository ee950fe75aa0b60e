// Package transfer moves one blob between a registry and this machine, and goes
// on where it broke off.
//
// A [Line] is an authenticated way to one repository of one registry. It sends
// requests, tries again what may pass (with jitter, and no sooner than the
// registry asks), and turns refusals into [StatusError].
//
// # Down
//
// A [Download] fills a file. A small blob comes in one request. A large one is
// asked for in pieces, several at a time and the first ones first, where the
// registry answers ranges; where it does not, in one. The [Ledger] knows which
// bytes of the file are there; written to disk from time to time it is the
// journal that lets the next process go on. Whoever verifies, decompresses and
// unpacks follows the contiguous prefix of the file while it grows:
//
//	l := transfer.NewLedger(f, size, journal)
//	go d.Run(ctx)
//	io.Copy(hash, l.Follow(ctx))
//
// Bytes of a file are believed by nobody before their digest was checked.
//
// # Up
//
// An [Upload] asks whether the registry has the blob, then whether it can be
// linked from another repository of the same registry, and then sends it: a
// small blob with two requests, a large one as a stream that goes on at the
// registry's offset after a broken connection, or, where the location of an
// earlier run is remembered, after a dead process. A registry that forgets what
// came before a break is sent smaller pieces, so that each break costs less.
package transfer
