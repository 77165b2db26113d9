package decrypt

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/tree"
)

const objectFields = "^(data|stringData)$"

func repo(t *testing.T, files map[string]string) *tree.Tree {
	t.Helper()
	all, digest := map[string]tree.File{}, ""
	for _, name := range slices.Sorted(maps.Keys(files)) {
		all[name] = tree.File{Data: []byte(files[name])}
		digest += fmt.Sprintf("%q=%q,", name, files[name])
	}
	made, err := tree.New(digest, all)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// layout is a way in which a repository keeps what is encrypted.
type layout struct {
	files map[string]string
	want  []string // in what is rendered; "base64:" before what a Secret holds so
	not   []string
}

func layouts(t *testing.T, recipient string) map[string]layout {
	t.Helper()
	seal := func(plain string, f render.Format, regex string) string {
		return string(encrypt(t, plain, f, regex, ageKey(t, recipient)))
	}
	secret := func(name string) string { return strings.Replace(secretManifest, "name: db", "name: "+name, 1) }
	plain := "apiVersion: v1\nkind: ConfigMap\nmetadata:\n    name: plain\n    namespace: shop\n"
	base64Of := func(text string) string { return "base64:" + text }
	return map[string]layout{
		"a Secret": {
			files: map[string]string{"secret.sops.yaml": seal(secretManifest, render.FormatYAML, objectFields)},
			want:  []string{base64Of(canary), base64Of("admin-" + canary)},
		},
		"a directory without kustomization, with .sops.yaml in it": {
			files: map[string]string{
				".sops.yaml": "creation_rules:\n- path_regex: .*\n  age: " + recipient + "\n",
				"a.yaml":     plain, "b.yaml": seal(secretManifest, render.FormatYAML, objectFields),
			},
			want: []string{base64Of(canary), `"plain"`}, not: []string{"creation_rules"},
		},
		"a manifest of another kind": {
			files: map[string]string{"values.yaml": seal("apiVersion: v1\nkind: ConfigMap\nmetadata:\n    name: config\n    namespace: shop\ndata:\n    key: "+canary+"\n", render.FormatYAML, "^data$")},
			want:  []string{`"key":"` + canary + `"`},
		},
		"two documents encrypted together": {
			files: map[string]string{"all.yaml": seal(secret("one")+"---\n"+secret("two"), render.FormatYAML, objectFields)},
			want:  []string{`"one"`, `"two"`, base64Of(canary)},
		},
		"files put together afterwards, with plain ones between": {
			files: map[string]string{"all.yaml": "---\n" + seal(secret("one"), render.FormatYAML, objectFields) + "---\n" + plain + "---\n" + seal(secret("two"), render.FormatYAML, objectFields)},
			want:  []string{`"one"`, `"two"`, `"plain"`, base64Of(canary)},
		},
		"a Secret as JSON": {
			files: map[string]string{"kustomization.yaml": "resources: [secret.json]", "secret.json": seal(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"db","namespace":"shop"},"stringData":{"password":"`+canary+`"}}`, render.FormatJSON, objectFields)},
			want:  []string{base64Of(canary)},
		},
		"a Secret that the overlay changes": {
			files: map[string]string{
				"base/kustomization.yaml": "resources: [secret.yaml]", "base/secret.yaml": seal(secretManifest, render.FormatYAML, objectFields),
				"kustomization.yaml": "resources: [base]\nnamespace: other\nnamePrefix: p-\ncommonLabels: {a: b}\npatches:\n- patch: |-\n    apiVersion: v1\n    kind: Secret\n    metadata: {name: db, namespace: shop}\n    stringData: {extra: more}\n",
			},
			want: []string{`"p-db"`, `"other"`, base64Of(canary), base64Of("more")},
		},
		"an env file of a generator": {
			files: map[string]string{"kustomization.yaml": "secretGenerator:\n- name: env\n  namespace: shop\n  envs: [secret.env]\n", "secret.env": seal("PASSWORD="+canary+"\n", render.FormatDotenv, "")},
			want:  []string{base64Of(canary), `"PASSWORD"`}, not: []string{"sops_"},
		},
		"an env file with another name": {
			files: map[string]string{"kustomization.yaml": "secretGenerator:\n- name: env\n  namespace: shop\n  envs: [secrets.enc]\n", "secrets.enc": seal("PASSWORD="+canary+"\n", render.FormatDotenv, "")},
			want:  []string{base64Of(canary), `"PASSWORD"`},
		},
		"an env file of a ConfigMap": {
			files: map[string]string{"kustomization.yaml": "configMapGenerator:\n- name: env\n  namespace: shop\n  envs: [secret.env]\n", "secret.env": seal("PASSWORD="+canary+"\n", render.FormatDotenv, "")},
			want:  []string{`"PASSWORD":"` + canary + `"`},
		},
		"a values file of Helm under another key": {
			files: map[string]string{"kustomization.yaml": "secretGenerator:\n- name: values\n  namespace: shop\n  files: [values.yaml=values.sops.yaml]\n", "values.sops.yaml": seal("password: "+canary+"\n", render.FormatYAML, "")},
			want:  []string{base64Of("password: " + canary + "\n")},
		},
		"a JSON file": {
			files: map[string]string{"kustomization.yaml": "secretGenerator:\n- name: config\n  namespace: shop\n  files: [config.json]\n", "config.json": seal(`{"password":"`+canary+`"}`, render.FormatJSON, "")},
			want:  []string{base64Of("{\n\t\"password\": \"" + canary + "\"\n}")},
		},
		"a dockerconfigjson that sops took for binary": {
			files: map[string]string{"kustomization.yaml": "secretGenerator:\n- name: pull\n  namespace: shop\n  type: kubernetes.io/dockerconfigjson\n  files: [.dockerconfigjson=pull.dockerconfigjson]\n", "pull.dockerconfigjson": seal(`{"auths":{"r":{"auth":"`+canary+`"}}}`, render.FormatBinary, "")},
			want:  []string{base64Of(`{"auths":{"r":{"auth":"` + canary + `"}}}`)},
		},
		"a binary file": {
			files: map[string]string{"kustomization.yaml": "secretGenerator:\n- name: tls\n  namespace: shop\n  files: [tls.key]\n", "tls.key": seal("-----BEGIN "+canary+"\n", render.FormatBinary, "")},
			want:  []string{base64Of("-----BEGIN " + canary + "\n")},
		},
		"an INI file": {
			files: map[string]string{"kustomization.yaml": "secretGenerator:\n- name: ini\n  namespace: shop\n  files: [app.ini]\n", "app.ini": seal("[db]\npassword = "+canary+"\n", render.FormatINI, "")},
			want:  []string{base64Of("[db]\npassword = " + canary + "\n")},
		},
		"YAML under a key without extension": {
			files: map[string]string{"kustomization.yaml": "secretGenerator:\n- name: config\n  namespace: shop\n  files: [config=config.sops]\n", "config.sops": seal("password: "+canary+"\n", render.FormatYAML, "")},
			want:  []string{base64Of("password: " + canary + "\n")},
		},
		"a patch": {
			files: map[string]string{"kustomization.yaml": "resources: [a.yaml]\npatches:\n- path: patch.yaml\n", "a.yaml": plain, "patch.yaml": seal("apiVersion: v1\nkind: ConfigMap\nmetadata:\n    name: plain\n    namespace: shop\ndata:\n    key: "+canary+"\n", render.FormatYAML, "^data$")},
			want:  []string{`"key":"` + canary + `"`},
		},
		"a generator plugin": {
			files: map[string]string{"kustomization.yaml": "generators: [g.yaml]\n", "g.yaml": "apiVersion: builtin\nkind: SecretGenerator\nmetadata: {name: env, namespace: shop}\nenvs: [secret.env]\n", "secret.env": seal("PASSWORD="+canary+"\n", render.FormatDotenv, "")},
			want:  []string{base64Of(canary)},
		},
		"a component": {
			files: map[string]string{"kustomization.yaml": "components: [c]\nresources: [a.yaml]\n", "a.yaml": plain, "c/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [s.yaml]\n", "c/s.yaml": seal(secretManifest, render.FormatYAML, objectFields)},
			want:  []string{base64Of(canary)},
		},
		"an object that stays encrypted": {
			files: map[string]string{"a.yaml": seal(strings.Replace(secretManifest, "    name: db", "    annotations: {kustomize.toolkit.fluxcd.io/decrypt: disabled}\n    name: db", 1), render.FormatYAML, objectFields)},
			not:   []string{base64Of(canary)}, want: []string{`"sops":{`},
		},
		"a SopsSecret": {
			files: map[string]string{"a.yaml": seal("apiVersion: isindir.github.com/v1alpha3\nkind: SopsSecret\nmetadata:\n    name: x\n    namespace: shop\nspec:\n    templates:\n        - stringData:\n            a: "+canary+"\n", render.FormatYAML, "templates")},
			not:   []string{canary}, want: []string{`"sops":{`},
		},
		"a generator whose file stays encrypted": {
			files: map[string]string{"kustomization.yaml": "configMapGenerator:\n- name: c\n  namespace: shop\n  files: [a.sops.yaml]\n  options: {annotations: {skerry.dev/decrypt: disabled}}\n", "a.sops.yaml": seal("password: "+canary+"\n", render.FormatYAML, "")},
			not:   []string{canary}, want: []string{"ENC[AES256_GCM"},
		},
		"text that speaks of it": {
			files: map[string]string{"kustomization.yaml": "configMapGenerator:\n- name: c\n  namespace: shop\n  files: [readme.md]\nresources: [a.yaml]\n", "readme.md": "A value looks like `ENC[AES256_GCM,data:...]`.\n", "a.yaml": plain + "data:\n    help: a value is an ENC[AES256_GCM,data:…] of SOPS\n"},
			want:  []string{"looks like"},
		},
		"a value with variables": {
			files: map[string]string{"a.yaml": seal("apiVersion: v1\nkind: Secret\nmetadata:\n    name: v\n    namespace: shop\nstringData:\n    url: http://${host}/"+canary+"\n", render.FormatYAML, objectFields)},
			want:  []string{base64Of("http://db/" + canary)},
		},
	}
}

func options(d *render.Decryption) render.Options {
	return render.Options{Decryption: d, PostBuild: &render.PostBuild{Substitute: map[string]string{"host": "db"}}}
}

func TestLayouts(t *testing.T) {
	recipient, secret := newAge(t)
	d := mustParse(t, secret).Decryption(t.Context(), "1")
	for name, l := range layouts(t, recipient) {
		t.Run(name, func(t *testing.T) {
			r, err := render.Build(t.Context(), repo(t, l.files), options(d))
			if err != nil {
				t.Fatal(err)
			}
			got := string(r.Bundle.Encode())
			holds := func(text string) bool {
				if text, ok := strings.CutPrefix(text, "base64:"); ok {
					return strings.Contains(got, base64.StdEncoding.EncodeToString([]byte(text)))
				}
				return strings.Contains(got, text)
			}
			for _, text := range l.want {
				if !holds(text) {
					t.Errorf("%q is missing in\n%s", text, got)
				}
			}
			for _, text := range l.not {
				if holds(text) {
					t.Errorf("%q is in\n%s", text, got)
				}
			}
		})
	}
}

// TestNothingIsRenderedWithoutTheKey: whatever the layout, with no decryption or with another key there is
// an error that names the file and nothing of its content; what is not decrypted anyway renders as before.
func TestNothingIsRenderedWithoutTheKey(t *testing.T) {
	recipient, _ := newAge(t)
	_, other := newAge(t)
	for name, l := range layouts(t, recipient) {
		for with, d := range map[string]*render.Decryption{"no decryption": nil, "another key": mustParse(t, other).Decryption(t.Context(), "2")} {
			r, err := render.Build(t.Context(), repo(t, l.files), options(d))
			if strings.HasPrefix(name, "an object that stays") || name == "a SopsSecret" || strings.HasPrefix(name, "a generator whose file stays") || name == "text that speaks of it" {
				if err != nil {
					t.Errorf("%s, %s: %v", name, with, err)
				}
				continue
			}
			var failed *render.Error
			errors.As(err, &failed)
			switch {
			case failed == nil || failed.Reason != render.DecryptionFailed:
				t.Errorf("%s, %s: %v, %v", name, with, err, r)
			case l.files[failed.Path] == "":
				t.Errorf("%s, %s: the file is not named: %v", name, with, err)
			case strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "ENC["):
				t.Errorf("%s, %s: content in %v", name, with, err)
			case d == nil && !strings.Contains(err.Error(), "spec.decryption"):
				t.Errorf("%s: no remedy in %v", name, err)
			case d != nil && !strings.Contains(err.Error(), recipient):
				t.Errorf("%s: no recipient in %v", name, err)
			}
		}
	}
}

// TestCutOffFilesAreRefused: a file that lost its end, where SOPS keeps how to decrypt it, looks like any
// other.
func TestCutOffFilesAreRefused(t *testing.T) {
	recipient, secret := newAge(t)
	d := mustParse(t, secret).Decryption(t.Context(), "1")
	for name, l := range layouts(t, recipient) {
		for file, text := range l.files {
			at := strings.Index(text, "ENC[AES256_GCM,data:")
			if at < 0 || strings.HasPrefix(name, "text that") || strings.Contains(name, "stay") || name == "a SopsSecret" {
				continue
			}
			at += strings.Index(text[at:], "\n") + 1
			changed := maps.Clone(l.files)
			changed[file] = text[:at]
			for with, d := range map[string]*render.Decryption{"no decryption": nil, "the key": d} {
				r, err := render.Build(t.Context(), repo(t, changed), options(d))
				if err == nil {
					t.Errorf("%s, with %s: %s is rendered as\n%s", name, with, text[:at], r.Bundle.Encode())
				} else if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "ENC[AES") {
					t.Errorf("%s: content in %v", name, err)
				}
			}
		}
	}
}

// TestSamePlaintextIsTheSameBundle: what is encrypted anew, with another key, is the same to every cluster.
func TestSamePlaintextIsTheSameBundle(t *testing.T) {
	first, secret := newAge(t)
	second, secret2 := newAge(t)
	one := layouts(t, first)
	two := layouts(t, second)
	cache := render.NewCache(64 << 20)
	for name := range one {
		if strings.Contains(name, "stay") || name == "a SopsSecret" {
			continue
		}
		a, err := cache.Build(t.Context(), repo(t, one[name].files), options(mustParse(t, secret).Decryption(t.Context(), "1")))
		if err != nil {
			t.Fatal(err)
		}
		b, err := cache.Build(t.Context(), repo(t, two[name].files), options(mustParse(t, secret2).Decryption(t.Context(), "2")))
		if err != nil {
			t.Fatal(err)
		}
		if a.Digest != b.Digest {
			t.Errorf("%s: another digest", name)
		}
	}
}

// TestOtherKeysAreAnotherInput: a result that keys gave is not handed to whoever has others, and a failure
// is not remembered beyond the keys that it came from.
func TestOtherKeysAreAnotherInput(t *testing.T) {
	recipient, secret := newAge(t)
	_, other := newAge(t)
	source := repo(t, layouts(t, recipient)["a Secret"].files)
	cache := render.NewCache(64 << 20)
	for i, c := range []struct {
		keys map[string][]byte
		id   string
		ok   bool
	}{{other, "1", false}, {secret, "2", true}, {other, "3", false}, {secret, "4", true}} {
		_, err := cache.Build(t.Context(), source, options(mustParse(t, c.keys).Decryption(t.Context(), c.id)))
		if (err == nil) != c.ok {
			t.Errorf("%d: %v", i, err)
		}
	}
	if _, err := cache.Build(t.Context(), source, options(nil)); err == nil {
		t.Error("without keys it is rendered from what keys gave")
	}
}

// TestErrorsOfWhatWasDecryptedHoldNothingOfIt: kustomize quotes what it cannot take.
func TestErrorsOfWhatWasDecryptedHoldNothingOfIt(t *testing.T) {
	recipient, secret := newAge(t)
	d := mustParse(t, secret).Decryption(t.Context(), "1")
	seal := func(plain string, f render.Format, regex string) string {
		return string(encrypt(t, plain, f, regex, ageKey(t, recipient)))
	}
	for name, files := range map[string]map[string]string{
		"a line that is no variable": {"kustomization.yaml": "secretGenerator:\n- name: e\n  envs: [e.env]\n", "e.env": seal("A=\xff"+canary+"\n", render.FormatBinary, "")},
		"no kind":                    {"kustomization.yaml": "resources: [a.yaml]", "a.yaml": seal("apiVersion: v1\nmetadata:\n    name: "+canary+"\n", render.FormatYAML, "name")},
		"not a map":                  {"kustomization.yaml": "resources: [a.yaml]", "a.yaml": seal("apiVersion: v1\nkind: Secret\nmetadata:\n    name: a\nstringData: "+canary+"\n", render.FormatYAML, "stringData")},
		"bad data":                   {"kustomization.yaml": "resources: [a.yaml]", "a.yaml": seal("apiVersion: v1\nkind: Secret\nmetadata:\n    name: a\nstringData:\n    a: [\""+canary+"\"]\n", render.FormatYAML, "stringData")},
		"a patch of none":            {"kustomization.yaml": "resources: [a.yaml]\npatches:\n- path: p.yaml\n", "a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n    name: a\n", "p.yaml": seal("apiVersion: v1\nkind: ConfigMap\nmetadata:\n    name: other\nspec:\n    a: "+canary+"\n", render.FormatYAML, "spec")},
		"a patch with bad op":        {"kustomization.yaml": "resources: [a.yaml]\npatches:\n- path: p.yaml\n  target: {kind: ConfigMap}\n", "a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n    name: a\ndata: text\n", "p.yaml": seal("apiVersion: v1\nkind: ConfigMap\nmetadata:\n    name: a\ndata:\n    a: "+canary+"\n", render.FormatYAML, "data")},
		"twice":                      {"kustomization.yaml": "resources: [a.yaml, b.yaml]", "a.yaml": seal("apiVersion: v1\nkind: ConfigMap\nmetadata:\n    name: a\ndata:\n    a: "+canary+"\n", render.FormatYAML, "data"), "b.yaml": seal("apiVersion: v1\nkind: ConfigMap\nmetadata:\n    name: a\ndata:\n    a: "+canary+"\n", render.FormatYAML, "data")},
	} {
		r, err := render.Build(t.Context(), repo(t, files), render.Options{Decryption: d})
		if err == nil {
			t.Errorf("%s: rendered %s", name, r.Bundle.Encode())
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", name, err)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
}

// TestFilesOfTheCommand: those in testdata were written by sops 3.13.3 itself, with sops encrypt --age.
func TestFilesOfTheCommand(t *testing.T) {
	files := map[string]string{"kustomization.yaml": "resources: [secret.sops.yaml]\nsecretGenerator:\n- name: g\n  namespace: shop\n  envs: [secret.sops.env]\n  files: [a.json=secret.sops.json, b.ini=secret.sops.ini, c=secret.sops.bin]\n"}
	for _, name := range []string{"yaml", "env", "json", "ini", "bin"} {
		files["secret.sops."+name] = read(t, "secret.sops."+name)
	}
	d := mustParse(t, map[string][]byte{"test-only.agekey": []byte(read(t, "test-only.agekey"))}).Decryption(t.Context(), "1")
	r, err := render.Build(t.Context(), repo(t, files), options(d))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{canary, "{\n\t\"password\": \"" + canary + "\",\n\t\"n\": 3\n}", "[db]\npassword = " + canary + "\n", "any " + canary + "\n"} {
		if !strings.Contains(string(r.Bundle.Encode()), base64.StdEncoding.EncodeToString([]byte(text))) {
			t.Errorf("%q is missing in\n%s", text, r.Bundle.Encode())
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/sops/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestDigestOfWhatWasDecryptedCannotBeGuessed: whatever the kind of the object, the digest depends on a key.
func TestDigestOfWhatWasDecryptedCannotBeGuessed(t *testing.T) {
	recipient, secret := newAge(t)
	d := mustParse(t, secret).Decryption(t.Context(), "1")
	for name, l := range layouts(t, recipient) {
		cache := render.NewCache(64 << 20)
		cache.DigestKey = []byte("key")
		r, err := cache.Build(t.Context(), repo(t, l.files), options(d))
		if err != nil {
			t.Fatal(err)
		}
		decrypted := name != "a SopsSecret" && name != "text that speaks of it" && !strings.HasPrefix(name, "a generator whose file stays")
		if r.Bundle.Confidential != decrypted || (r.Digest == r.Bundle.Digest()) == decrypted {
			t.Errorf("%s: confidential %t, digest %s; plain %s", name, r.Bundle.Confidential, r.Digest, r.Bundle.Digest())
		}
	}
	for name, o := range map[string]render.Options{
		"a variable of a Secret":    {PostBuild: &render.PostBuild{SubstituteFrom: []render.Source{{Data: map[string]string{"v": "x"}, Secret: true}}}},
		"a variable of a ConfigMap": {PostBuild: &render.PostBuild{SubstituteFrom: []render.Source{{Data: map[string]string{"v": "x"}}}}},
		"of a Secret and not used":  {PostBuild: &render.PostBuild{SubstituteFrom: []render.Source{{Data: map[string]string{"v": "x"}}, {Data: map[string]string{"w": "x"}, Secret: true}}}},
	} {
		r, err := render.Build(t.Context(), repo(t, map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: \"${v}\"}\n"}), o)
		if err != nil {
			t.Fatal(err)
		}
		if want := name == "a variable of a Secret"; r.Bundle.Confidential != want {
			t.Errorf("%s: confidential %t", name, r.Bundle.Confidential)
		}
	}
}
