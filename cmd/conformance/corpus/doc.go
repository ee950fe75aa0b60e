// Package corpus reads the cases of testdata/corpus and says whether a build did what they expect.
//
// A case is a recipe, its context and what must come out. A file holds many cases, each begun by a line "=== name";
// what follows is a few settings, a sentence, and sections as txtar has them:
//
//	=== dir-contents
//	rows: 42
//	args: --build-arg WHERE=/x/
//	A folder's contents are copied, not the folder.
//	-- Dockerfile --
//	FROM scratch
//	ARG WHERE
//	COPY d $WHERE
//	-- d/f --
//	hello
//	-- setup --
//	d/f 600
//	-- want --
//	/x/
//	/x/f 600 "hello\n"
//
// Sections without a meaning of their own are files of the context; a name that begins with @ lies beside the context
// (@http/ is served, {{HTTP}} in any section is its URL). These have a meaning:
//
//	setup             entries that text cannot say: modes, links, devices, attributes
//	tar NAME          an archive, compressed as its name says
//	base64 NAME       a file of any bytes
//	git NAME          a repository, {{GIT}}/NAME is its URL
//	image NAME        an image in the store; image NAME config, its configuration
//	want              the file system: what differs from the base image's
//	config            the configuration: what differs from the base image's
//	history           its new lines of history: "+ " made a layer, "- " did not
//	warn              line and name of each lint rule that finds something
//	error             words that the message of the failed build must have
//	stdout            what is printed
//
// A line of a tree (setup, tar, git, image, want) is a path and what differs from root's plain file of mode 644 or
// folder of mode 755:
//
//	/d/ 700                     a folder
//	/f 4755 1:2 @86400 "text"   mode, owner, time, content; * is any content
//	/l -> target                a symbolic link
//	/h == /f                    another name of a file
//	/p fifo                     also: socket, char 1:3, block 7:0
//	/f user.k="v"               an extended attribute
//	/g gone                     the base image has it, the result has not
package corpus
