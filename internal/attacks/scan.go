package attacks

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

var mention = regexp.MustCompile(`ATK-[A-Z][0-9]{2}`)

// scan reads every test file of the module in root and tells which test functions carry which id, as
// "package/path.TestName" in alphabetical order. Nested modules and testdata are left out, and so are this package's
// own tests, which name ids as examples.
//
// An id outside a test function is an error: it would belong to no test.
func scan(root fs.FS) (map[string][]string, error) {
	tests := map[string][]string{}
	var stray []error
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if skipped(root, name) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		source, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, name, source, parser.ParseComments)
		if err != nil {
			return err
		}
		for id, found := range mentions(f) {
			for _, at := range found {
				if at.test == "" {
					stray = append(stray, fmt.Errorf("%s names %s outside a test function", files.Position(at.pos), id))
					continue
				}
				test := path.Dir(name) + "." + at.test
				if !slices.Contains(tests[id], test) {
					tests[id] = append(tests[id], test)
				}
			}
		}
		return nil
	})
	for _, list := range tests {
		slices.Sort(list)
	}
	return tests, errors.Join(append(stray, err)...)
}

func skipped(root fs.FS, dir string) bool {
	switch base := path.Base(dir); {
	case dir == ".":
		return false
	case dir == "internal/attacks", base == "testdata", strings.HasPrefix(base, "."), strings.HasPrefix(base, "_"):
		return true
	}
	_, err := fs.Stat(root, path.Join(dir, "go.mod"))
	return err == nil
}

// place is where an id stands: in which test function, if in any.
type place struct {
	test string
	pos  token.Pos
}

// mentions finds the ids in the string literals and comments of a file.
func mentions(f *ast.File) map[string][]place {
	type span struct {
		from, to token.Pos
		test     string
	}
	var spans []span
	for _, decl := range f.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && isTest(fn.Name.Name) {
			from := fn.Pos()
			if fn.Doc != nil {
				from = fn.Doc.Pos()
			}
			spans = append(spans, span{from, fn.End(), fn.Name.Name})
		}
	}
	found := map[string][]place{}
	add := func(pos token.Pos, text string) {
		for _, id := range mention.FindAllString(text, -1) {
			at := place{pos: pos}
			for _, s := range spans {
				if s.from <= pos && pos < s.to {
					at.test = s.test
				}
			}
			found[id] = append(found[id], at)
		}
	}
	for _, group := range f.Comments {
		for _, c := range group.List {
			add(c.Pos(), c.Text)
		}
	}
	for n := range ast.Preorder(f) {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			add(lit.Pos(), lit.Value)
		}
	}
	return found
}

func isTest(name string) bool {
	return strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz")
}
