// Command apidoc writes the reference of the API as Markdown, from the Go types and their comments: each
// field with its type, its default, its rules and its contract. It reads the same markers as
// controller-gen, and knows nothing of what a field does. Run it in the root of the repository:
//
//	go run ./internal/apidoc > docs/reference.md
package main

import (
	"fmt"
	"io"
	"os"
)

// types is where the API's types are, seen from the root of the repository.
const types = "api/v1alpha1"

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "apidoc:", err)
		os.Exit(1)
	}
}

func run(out io.Writer) error {
	pkg, err := load(types)
	if err != nil {
		return err
	}
	page, err := render(pkg)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, page)
	return err
}
