# The same image as ko's, for those who have Docker and no ko: the static binary on an empty, non-root base, nothing else.
# docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=$(git describe --always) -t artemis.local/service:dev .
ARG GO_VERSION=1.26
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY service ./service
COPY adversary ./adversary
ARG TARGETOS TARGETARCH VERSION=dev
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath \
    -ldflags "-s -w -X main.version=$VERSION" -o /service ./service

FROM gcr.io/distroless/static:nonroot
COPY --from=build /service /ko-app/service
USER 65532:65532
ENTRYPOINT ["/ko-app/service"]
