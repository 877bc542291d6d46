// What BuildKit's client sends of a directory as build context, with the modules that it is made of: an ignore file on
// each line of stdin, as a JSON string, and what is kept of the directory in the first argument on each line of stdout.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"

	"github.com/moby/patternmatcher/ignorefile"
	"github.com/tonistiigi/fsutil"
)

func kept(root string, text string) ([]string, error) {
	patterns, err := ignorefile.ReadAll(bytes.NewReader([]byte(text)))
	if err != nil {
		return nil, err
	}
	whole, err := fsutil.NewFS(root)
	if err != nil {
		return nil, err
	}
	filtered, err := fsutil.NewFilterFS(whole, &fsutil.FilterOpt{ExcludePatterns: patterns})
	if err != nil {
		return nil, err
	}
	names := []string{}
	err = filtered.Walk(context.Background(), "", func(path string, _ fs.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	return names, err
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var text string
		if err := json.Unmarshal(lines.Bytes(), &text); err != nil {
			panic(err)
		}
		answer := map[string]any{}
		if names, err := kept(os.Args[1], text); err != nil {
			answer["error"] = err.Error()
		} else {
			answer["kept"] = names
		}
		line, _ := json.Marshal(answer)
		fmt.Println(string(line))
	}
}
