// Command service answers every request with its path.
package main

import (
	"flag"
	"fmt"
	"log"
	"net/http"
)

func main() {
	addr := flag.String("addr", ":8080", "address to listen on")
	once := flag.Bool("check", false, "say hello and end")
	flag.Parse()
	if *once {
		fmt.Println("service is ready")
		return
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "you asked for %q\n", r.URL.Path)
	})
	log.Fatal(http.ListenAndServe(*addr, nil))
}
