// Three buildings in a box of 120 m x 80 m x 40 m; wind comes in at x = 0.
// Made into mesh.msh by: gmsh -3 -bin -format msh22 mesh.geo
SetFactory("OpenCASCADE");
Box(1) = {0, 0, 0, 120, 80, 40};
Box(2) = {35, 12, 0, 20, 20, 14};
Box(3) = {35, 46, 0, 20, 22, 20};
Box(4) = {72, 28, 0, 18, 24, 16};
BooleanDifference(100) = { Volume{1}; Delete; }{ Volume{2:4}; Delete; };

e = 0.01;
inflow() = Surface In BoundingBox {-e, -e, -e, e, 80 + e, 40 + e};
outflow() = Surface In BoundingBox {120 - e, -e, -e, 120 + e, 80 + e, 40 + e};
south() = Surface In BoundingBox {-e, -e, -e, 120 + e, e, 40 + e};
north() = Surface In BoundingBox {-e, 80 - e, -e, 120 + e, 80 + e, 40 + e};
sky() = Surface In BoundingBox {-e, -e, 40 - e, 120 + e, 80 + e, 40 + e};
walls() = Boundary{ Volume{100}; };
walls() -= {inflow(), outflow(), south(), north(), sky()};
Physical Surface("inflow", 1) = inflow();
Physical Surface("outflow", 2) = outflow();
Physical Surface("sides", 3) = {south(), north()};
Physical Surface("sky", 4) = sky();
Physical Surface("ground and buildings", 5) = walls();
Physical Volume("air", 10) = {100};

Mesh.MeshSizeMin = 11;
Mesh.MeshSizeMax = 11;
Mesh.Optimize = 1;
