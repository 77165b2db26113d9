package fleetsim

import (
	"encoding/json"
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const jsonType = "application/json"

// answer is a whole answer to a request.
type answer struct {
	code        int
	contentType string
	headers     []header
	body        []byte
}

type header struct{ name, value string }

func jsonAnswer(code int, body []byte) *answer {
	return &answer{code: code, contentType: jsonType, body: body}
}

// notServed is how an API server answers where it serves nothing.
func notServed() *answer {
	return &answer{code: http.StatusNotFound, contentType: "text/plain; charset=utf-8", body: []byte("404 page not found\n")}
}

// generic is how an API server answers what has not come as far as an object.
func generic(code int32, reason metav1.StatusReason, message string) *answer {
	return statusAnswer(&metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message, Details: &metav1.StatusDetails{}})
}

// refuse turns an error into the answer of an API server.
func refuse(err error) *answer {
	status := metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonUnknown, Message: err.Error()}
	if s := apierrors.APIStatus(nil); errors.As(err, &s) {
		status = s.Status()
	}
	return statusAnswer(&status)
}

func statusAnswer(status *metav1.Status) *answer {
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	body, err := json.Marshal(status)
	if err != nil {
		panic(err) // strings and numbers can be encoded
	}
	code := int(status.Code)
	if code == 0 {
		code = http.StatusOK
	}
	return jsonAnswer(code, body)
}
