package object

import "testing"

func TestMaskHidesNamesAsWords(t *testing.T) {
	var m Mask
	m.Add(ID{Kind: "ConfigMap", Namespace: "shop", Name: "acme-example-tls"}, "shop/${DOMAIN}-tls")
	m.Add(ID{Kind: "ConfigMap", Namespace: "umbrella", Name: "web"}, "${TENANT}/web")
	m.Add(ID{Kind: "Namespace", Name: "umbrella"}, "${TENANT}")
	m.Add(ID{Kind: "Namespace", Name: "ab"}, "${SHORT}")
	m.Add(ID{Kind: "Namespace", Name: "public"}, "")
	for text, want := range map[string]string{
		"ConfigMap/shop/acme-example-tls: is refused":        "ConfigMap/shop/${DOMAIN}-tls: is refused",
		`configmaps "acme-example-tls" is forbidden`:         `configmaps "${DOMAIN}-tls" is forbidden`,
		"ConfigMap/umbrella/web was changed":                 "ConfigMap/${TENANT}/web was changed",
		`namespaces "umbrella" not found`:                    `namespaces "${TENANT}" not found`,
		"system:serviceaccount:umbrella:default":             "system:serviceaccount:${TENANT}:default",
		"umbrella":                                           "${TENANT}",
		"umbrella.svc and umbrella-2":                        "${TENANT}.svc and ${TENANT}-2",
		"umbrellas and theumbrella and umbrella2":            "umbrellas and theumbrella and umbrella2",
		"the end is cut off: ConfigMap/shop/acme-exa…":       "the end is cut off: ConfigMap/shop/${DOMAIN}-tls…",
		"a path is cut off: .data.acme-exa…, .data.b by k9s": "a path is cut off: .data.${DOMAIN}-tls…, .data.b by k9s",
		"no name is cut off: .data.acme-other…, .data.b":     "no name is cut off: .data.acme-other…, .data.b",
		"Namespace/ab is there; ab is a word":                "Namespace/${SHORT} is there; ab is a word",
		`namespaces "ab" not found`:                          `namespaces "${SHORT}" not found`,
		"Namespace/public":                                   "Namespace/public",
		"nothing of it":                                      "nothing of it",
		"https://edge/api/v1/namespaces/umbrella/pods?a=b1":  "https://edge/api/v1/namespaces/${TENANT}/pods?a=b1",
	} {
		if got := m.Text(text); got != want {
			t.Errorf("%q is shown as %q; want %q", text, got, want)
		}
	}
	if got, want := m.ID(ID{Kind: "Secret", Namespace: "umbrella", Name: "acme-example-tls"}), (ID{Kind: "Secret", Namespace: "${TENANT}", Name: "${DOMAIN}-tls"}); got != want {
		t.Errorf("the ID is shown as %v; want %v", got, want)
	}
}

// The mark travels with the body: a bundle that is read again names its objects as the render did.
func TestManifestNameIsReadFromTheBody(t *testing.T) {
	o, err := FromMap(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{
		"name": "acme", "annotations": map[string]any{ManifestNameKey: "${DOMAIN}"},
	}})
	if err != nil || o.ManifestName != "${DOMAIN}" {
		t.Fatalf("%+v, %v", o, err)
	}
	b, err := DecodeBundle(Bundle{Objects: []Object{o}}.Encode())
	if err != nil || b.Objects[0].ManifestName != "${DOMAIN}" {
		t.Errorf("read again: %+v, %v", b, err)
	}
}

// Keys of maps and of items are texts of any form.
func TestMaskHidesKeysInPaths(t *testing.T) {
	var m Mask
	m.Hide(map[string]string{"canary": "${key}", "_token": "${token}", ".hidden": "${dot}", "x": "${short}", "22": "${port}", "canary.io/tier": "${domain}/tier", `a\"b`: "${quoted}", "end-": "${end}"})
	for text, want := range map[string]string{
		".data.canary":                          ".data.${key}",
		".data._token":                          ".data.${token}",
		".data..hidden, .data.other":            ".data.${dot}, .data.other",
		".data.x and an x":                      ".data.${short} and an x",
		`.spec.ports[port=22,protocol="TCP"]`:   `.spec.ports[port=${port},protocol="TCP"]`,
		"22 objects, after 22 s":                "22 objects, after 22 s",
		".metadata.labels.canary.io/tier by me": ".metadata.labels.${domain}/tier by me",
		`.spec.list[name="a\"b"].value`:         `.spec.list[name="${quoted}"].value`,
		".data.end-of-it, .data.end-":           ".data.${end}of-it, .data.${end}",
		"data[canary]: is refused":              "data[${key}]: is refused",
		"canaryx, my_tokens and the.hiddenx":    "canaryx, my_tokens and the.hiddenx",
	} {
		if got := m.Text(text); got != want {
			t.Errorf("%q is shown as %q; want %q", text, got, want)
		}
	}
}
