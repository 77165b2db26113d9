package render

import (
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/kyaml/kio"
)

func TestScan(t *testing.T) {
	deep := func(line string) string {
		var b strings.Builder
		for i := range maxDepth + 10 {
			b.WriteString(strings.Repeat(" ", i) + line + "\n")
		}
		return b.String()
	}
	object := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"
	for name, tc := range map[string]struct {
		in      string
		reason  Reason
		line    int
		objects int
	}{
		"nothing":                         {in: "", objects: 1},
		"an object":                       {in: object, objects: 1},
		"two objects":                     {in: object + "---\n" + object, objects: 2},
		"a list":                          {in: "kind: List\nitems:\n" + strings.Repeat("- {kind: A}\n", 5), objects: 6},
		"a list that spells it otherwise": {in: `{"\u006bind": "List", "items": [{"\u006bind": "A"}, {"\u006bind": "B"}]}`, objects: 2},
		"a star and no anchor":            {in: "rules: ['*']\n", objects: 1},
		"an anchor and no alias":          {in: "a: &a 1\n", objects: 1},
		"an alias":                        {in: "a: &a [1]\nb: *a\n", objects: 1},
		"itself":                          {in: "a: &a [*a]\n", reason: YAMLBomb, line: 1},
		"itself in a key":                 {in: "a: &a {? *a : b}\n", reason: YAMLBomb, line: 1},
		"itself by merging":               {in: "x: 1\na: &a\n  <<: *a\n", reason: YAMLBomb, line: 3},
		"itself in the second document":   {in: object + "---\n" + "a: &a [*a]\n", reason: YAMLBomb, line: 5},
		"itself with other line ends":     {in: "a: 1\r\nb: &a [*a]\r\n", reason: YAMLBomb, line: 2},
		"itself in UTF-16":                {in: "\xff\xfe" + utf16("a: &a [*a]\n"), reason: YAMLBomb, line: 1},
		"deep in brackets":                {in: strings.Repeat("[", maxDepth+10), reason: InvalidYAML, line: 1},
		"deep in closed brackets":         {in: strings.Repeat("[", maxDepth+10) + strings.Repeat("]", maxDepth+10), reason: YAMLBomb, line: 1},
		"deep in lines":                   {in: deep("a:"), reason: YAMLBomb, line: maxDepth},
		"deep in lists":                   {in: strings.Repeat("- ", maxDepth+10) + "x\n", reason: YAMLBomb, line: 1},
		"deep in keys":                    {in: strings.Repeat("? ", maxDepth+10) + "x\n", reason: YAMLBomb, line: 1},
		"deep behind a byte order mark":   {in: "\ufeff" + strings.Repeat("- ", maxDepth+10) + "x\n", reason: YAMLBomb, line: 1},
		"deep by aliases":                 {in: chain(maxDepth + 10), reason: YAMLBomb},
		"many lines":                      {in: strings.Repeat("- 1\n", maxNodes+1), reason: TooLarge},
		"many in one line":                {in: "[" + strings.Repeat("1,", maxNodes+1) + "]", reason: TooLarge},
		"large":                           {in: strings.Repeat("#", maxFileBytes+1), reason: TooLarge},
		"bad":                             {in: "a: 1\nb: [\nc: d\n", reason: "", objects: 1},
		"bad and not plain":               {in: "a: &a 1\nb: [*a\nc: d\n", reason: InvalidYAML, line: 2},
		"text after the separator":        {in: "a: &a [*a]\n--- !x\nb\n", reason: YAMLBomb, line: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := scan([]byte(tc.in), false)
			switch {
			case tc.reason == "" && err != nil:
				t.Fatalf("scan: %s %v", err.Reason, err)
			case tc.reason == "":
				if w.objects != tc.objects {
					t.Errorf("%d objects; want %d", w.objects, tc.objects)
				}
				return
			case err == nil || err.Reason != tc.reason:
				t.Fatalf("scan: %v; want %s", err, tc.reason)
			}
			if tc.line > 0 && err.Line != tc.line {
				t.Errorf("line %d; want %d (%v)", err.Line, tc.line, err)
			}
		})
	}
}

func TestObjectsAreCountedExactlyIfNeedBe(t *testing.T) {
	text := "kind: ConfigMap\ndata:\n" + strings.Repeat("  kind-of: kind\n", maxObjects)
	if w, err := scan([]byte(text), false); err != nil || w.objects <= maxObjects {
		t.Errorf("at a glance: %+v, %v", w, err)
	}
	if w, err := scan([]byte(text), true); err != nil || w.objects != 1 {
		t.Errorf("exactly: %+v, %v; want one object", w, err)
	}
	var list strings.Builder
	list.WriteString("kind: List\nitems:\n")
	for i := range maxObjects + 1 {
		fmt.Fprintf(&list, "- {apiVersion: v1, kind: ConfigMap, metadata: {name: x-%d}}\n", i)
	}
	_, err := Build(t.Context(), repo(t, map[string]string{"a.yaml": list.String()}), Options{})
	if reasonOf(err) != TooLarge {
		t.Errorf("Build: %v; want %s", err, TooLarge)
	}
}

// chain returns n aliases, each of which nests the one before.
func chain(n int) string {
	var b strings.Builder
	b.WriteString("a0: &a0 x\n")
	for i := range n {
		fmt.Fprintf(&b, "a%d: &a%d [*a%d]\n", i+1, i+1, i)
	}
	return b.String()
}

func utf16(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		b.WriteString(string([]byte{c, 0}))
	}
	return b.String()
}

// FuzzScan: what is let through, whether seen at a glance or parsed, is what kustomize can read; and
// a glance lets nothing through that parsing would find to blow up.
func FuzzScan(f *testing.F) {
	for _, s := range []string{
		"a: &a [*a]\n", "a: &a 1\nb: *a\n", "- - - a\n", "a: {b: [c]}\n---\nx: y\n", "? - a\n: - b\n", "\ufeffa: b\n",
		"a: |\n  text\n---\n--- #x\n", "a: !!binary aGVsbG8=\n<<: {a: 1}\n", "a:\r\n  b: 1\r\n", "%YAML 1.1\n---\na: 1\n...\nb: 2\n",
		"kind: List\nitems: [{kind: A}, {kind: B}]\n", "\xff\xfea\x00", "a: b\u2028- - -", "[[[[", "a: 'x\n\n  y'\n",
		"apiVersion: v1\nkind: X\nmetadata: {name: &n x, labels: {a: *n}}\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		_, glance := scan(data, false)
		_, parsed := scan(data, true)
		if glance == nil && parsed != nil && parsed.Reason == YAMLBomb {
			t.Fatalf("a glance let through: %v", parsed)
		}
		if glance != nil {
			return
		}
		func() {
			defer func() { _ = recover() }() // a panic is recovered from in a build as well
			_, _ = kio.FromBytes(data)
		}()
	})
}
