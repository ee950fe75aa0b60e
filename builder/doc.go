// Package builder builds images from recipes.
//
// A build reads the recipe (builder/dockerfile), plans a graph of steps (builder/plan), performs each step once its
// inputs are there, several at a time, and puts the image that results into the store. It knows no registry: base images
// come from the [Images] that its caller gives.
//
//	res, err := builder.Build(ctx, builder.Options{Store: store, Images: images, Context: ".", Tags: []string{"app"}})
//	fmt.Println(res.Images[0].ID)
//
// Recipes of FROM, COPY, ADD, WORKDIR and the instructions that only describe the image are built from streams of files:
// no namespace, mount or privilege is needed. The result depends on the recipe, the files that it uses, the base images,
// the arguments and the platform, and on nothing else: all times that a build makes are 1980-01-01 or SOURCE_DATE_EPOCH.
package builder
