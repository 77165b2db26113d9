package fleetsim

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const boatDefinition = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"boats.example.com"},"spec":{
	"group":"example.com","scope":"Namespaced","names":{"plural":"boats","kind":"Boat"},"versions":[{"name":"v1","served":true,"storage":true,
	"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","properties":{%s}}}}}}]}}`

// TestDefinitionChanges checks that objects, and who watches them, outlive a change of their definition.
func TestDefinitionChanges(t *testing.T) {
	e := startFleet(t, 1).Edges[0]
	client := clientFor(t, edgeConfig(t, e))
	const definition, boats = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/boats.example.com", "/apis/example.com/v1/namespaces/default/boats"
	apply := func(code int, path, body string) string {
		t.Helper()
		got, answer := send(t, client, e.URL(), step{Method: "PATCH", Path: path, Query: "fieldManager=m", ContentType: applyPatch, Body: body})
		if got != code {
			t.Fatalf("%s: %d, want %d: %s", path, got, code, answer)
		}
		return string(answer)
	}
	boat := func(spec string) string {
		return `{"apiVersion":"example.com/v1","kind":"Boat","metadata":{"name":"dory"},"spec":{` + spec + `}}`
	}
	apply(http.StatusNotFound, boats+"/dory", boat(""))
	apply(http.StatusCreated, definition, fmt.Sprintf(boatDefinition, `"length":{"type":"integer"}`))
	apply(http.StatusCreated, boats+"/dory", boat(`"length":5`))
	apply(http.StatusInternalServerError, boats+"/dory", boat(`"length":5,"colour":"red"`)) // not in the schema

	r, err := http.NewRequestWithContext(t.Context(), "GET", e.URL()+"/apis/example.com/v1/boats?watch=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	watch := &looker{t, bufio.NewReader(res.Body), nil}
	watch.expect("ADDED dory")

	apply(http.StatusOK, definition, fmt.Sprintf(boatDefinition, `"length":{"type":"integer"},"colour":{"type":"string"}`))
	if got := apply(http.StatusOK, boats+"/dory", boat(`"length":5,"colour":"red"`)); !strings.Contains(got, `"generation":2`) {
		t.Error(got)
	}
	watch.expect("MODIFIED dory")

	if code, body := send(t, client, e.URL(), step{Method: "DELETE", Path: definition}); code != http.StatusOK || !strings.Contains(string(body), "deletionTimestamp") {
		t.Fatalf("%d: %s", code, body)
	}
	watch.expect("DELETED dory", "EOF")
	for _, path := range []string{boats, definition, "/apis/example.com/v1"} {
		if code, body := send(t, client, e.URL(), step{Method: "GET", Path: path}); code != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}
